//! A model of letters is asked.

use emberline_backend::test_device;
use emberline_text::Corpus;

use super::*;
use crate::test_model::Bigrams;

/// The letters of the tests, by their ids: after `a` comes `b` with 1/2 and else each of the others with 1/6, and
/// so on in a circle.
fn asked() -> (Bigrams, Tokenizer) {
    let odds = |token: usize| {
        let mut odds = vec![1.0; 4];
        odds[(token + 1) % 4] = 3.0;
        odds
    };
    let tokenizer = Tokenizer::characters(&Corpus::new("letters", "abcd").unwrap());
    assert_eq!(tokenizer.encode("abcd").unwrap(), [0, 1, 2, 3]);
    (Bigrams::new((0..4).map(odds).collect()), tokenizer)
}

fn ask(task: &Task, config: &AskConfig) -> Result<TaskReport, InContextError> {
    let (model, tokenizer) = asked();
    evaluate_task(&model, &tokenizer, task, config, &test_device())
}

fn choice(context: &str, texts: &[&str], right: usize) -> Item {
    let choice = |(index, text): (usize, &&str)| Choice {
        text: (*text).into(),
        grade: if index == right { 1.0 } else { 0.0 },
    };
    let choices = texts.iter().enumerate().map(choice).collect();
    Item::Choice { context: context.into(), choices }
}

/// Without blanks, for which the model has no letter.
fn task(items: Vec<Item>) -> Task {
    Task { separator: String::new(), stop_strings: vec!["d".into()], ..Task::new("t", items) }
}

fn sums(sample: &Sample) -> Vec<f64> {
    let Answer::Scored(choices) = &sample.answer else { panic!("{sample:?}") };
    choices.iter().map(|choice| choice.log_likelihood.sum).collect()
}

fn is_close(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5)
}

#[test]
fn the_score_of_an_answer_is_the_sum_of_its_steps() {
    let found = ask(&task(vec![choice("a", &["bc", "c", "bb"], 0)]), &AskConfig::default());
    let sample = &found.unwrap().samples[0];
    let logs = [0.5 * 0.5, 1.0 / 6.0, 0.5 / 6.0].map(f64::ln);
    assert!(is_close(&sums(sample), &logs), "{sample:?}");
    // A half a token is more than a sixth.
    assert_eq!(sample.values, [("acc", 1.0), ("acc_per_token", 1.0), ("acc_norm", 1.0)]);
}

#[test]
fn the_order_of_answers_changes_no_score() {
    let config = AskConfig { start_token: Some(3), ..AskConfig::default() };
    let calibrated = |items| Task { answer_context: Some("c".into()), ..task(items) };
    let one = ask(&calibrated(vec![choice("a", &["bc", "c"], 0)]), &config).unwrap();
    let other = ask(&calibrated(vec![choice("a", &["c", "bc"], 1)]), &config).unwrap();
    let mut turned = sums(&other.samples[0]);
    turned.reverse();
    assert_eq!(sums(&one.samples[0]), turned);
    assert_eq!(one.metrics, other.metrics);
    let names: Vec<&str> = one.metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names, ["acc", "acc_per_token", "acc_norm", "acc_calibrated", "acc_mutual_info"]);
    // After `c` an answer of `bc` has 1/6 · 1/2, and one of `c` 1/6; after `d` the same.
    let Answer::Scored(choices) = &one.samples[0].answer else { panic!() };
    let after = choices.iter().map(|choice| choice.after_answer_context.unwrap());
    assert!(is_close(&after.collect::<Vec<_>>(), &[1.0f64 / 12.0, 1.0 / 6.0].map(f64::ln)));
    let alone: Vec<f64> = choices.iter().map(|choice| choice.alone.unwrap()).collect();
    assert!(is_close(&alone, &[1.0f64 / 12.0, 1.0 / 6.0].map(f64::ln)));
}

#[test]
fn an_ending_is_compared_after_several_texts() {
    let contexts = vec!["ca".into(), "ab".into()];
    let item = |right| Item::Partial { contexts: contexts.clone(), ending: "c".into(), right };
    let found = ask(&task(vec![item(1), item(0)]), &AskConfig::default()).unwrap();
    assert!(is_close(&sums(&found.samples[0]), &[1.0f64 / 6.0, 0.5].map(f64::ln)));
    let [metric] = &found.metrics[..] else { panic!("{:?}", found.metrics) };
    assert_eq!((metric.name, metric.mean, metric.n_items), ("acc", 0.5, 2));
    // Two items, one right: a mean of two draws is 0, ½ or 1 with ¼, ½, ¼.
    assert!((metric.error - 0.125f64.sqrt()).abs() < 0.03, "{metric:?}");
}

#[test]
fn an_answer_is_written_up_to_where_it_ends() {
    let item = |context: &str, targets: &[&str]| Item::Text {
        context: context.into(),
        targets: targets.iter().map(|target| (*target).into()).collect(),
    };
    let items = vec![item("a", &["bc"]), item("b", &["b", "c"]), item("c", &["a"])];
    for n_beams in [1, 2] {
        let config = AskConfig { n_beams, ..AskConfig::default() };
        let task = Task { max_new_tokens: 3, ..task(items.clone()) };
        let found = ask(&task, &config).unwrap();
        let written = found.samples.iter().map(|sample| match &sample.answer {
            Answer::Written(text) => text.as_str(),
            Answer::Scored(_) => panic!(),
        });
        assert_eq!(written.collect::<Vec<_>>(), ["bc", "c", ""]);
        let values: Vec<f64> = found.samples.iter().map(|sample| sample.values[0].1).collect();
        assert_eq!(values, [1.0, 1.0, 0.0]);
    }
    let pattern = regex::Regex::new("c").unwrap();
    let only = Task { output_pattern: Some(pattern), ..task(vec![item("a", &["c"])]) };
    assert_eq!(ask(&only, &AskConfig::default()).unwrap().metrics[0].mean, 1.0);
}

#[test]
fn examples_that_do_not_fit_are_left_out_or_an_error() {
    let items: Vec<Item> = (0..4).map(|_| choice("aaa", &["b", "c"], 0)).collect();
    let few = |max_positions, is_strict| AskConfig {
        few_shot: FewShot { n_shots: 3, draw: Draw::EachItem, seed: 1 },
        limit: Some(1),
        max_positions: Some(max_positions),
        is_strict,
        ..AskConfig::default()
    };
    let found = |max_positions| ask(&task(items.clone()), &few(max_positions, false)).unwrap();
    // An example is four letters; the question has three, and the answer is not read.
    assert_eq!((found(15).samples[0].n_shots, found(15).n_with_fewer(3)), (3, 0));
    assert_eq!((found(14).samples[0].n_shots, found(14).n_with_fewer(3)), (2, 1));
    assert_eq!((found(14).n_truncated(), found(2).n_truncated()), (0, 1));
    assert!(ask(&task(items.clone()), &few(15, true)).is_ok());
    let error = ask(&task(items.clone()), &few(14, true)).unwrap_err().to_string();
    assert_eq!(
        error,
        "item 0 of t: its prompt of 15 tokens, answer included, does not fit the 14 positions of the model"
    );
}

#[test]
fn an_answer_to_nothing_needs_a_start_token() {
    let items = vec![choice("", &["b", "c"], 0)];
    let error = ask(&task(items.clone()), &AskConfig::default()).unwrap_err().to_string();
    assert_eq!(error, "item 0 of t has an empty prompt: expected a start token for it to follow");
    let config = AskConfig { start_token: Some(0), ..AskConfig::default() };
    assert_eq!(ask(&task(items), &config).unwrap().metrics[0].mean, 1.0);
}
