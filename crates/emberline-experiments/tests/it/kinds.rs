//! Every kind of run, from its data to its report.

use serde_json::Value;

use crate::bad_input::refused;
use crate::program::{Finished, Folder, metrics, weights};

/// The result of a tiny run of an experiment in a directory of its name, and what it printed.
fn run(folder: &Folder, experiment: &str) -> (Value, Finished) {
    let finished = folder.succeed(folder.tiny_run_of(experiment, experiment, &[]));
    let result = folder.read(&format!("{experiment}/result.json"));
    (serde_json::from_str(&result).unwrap(), finished)
}

fn metric(result: &Value, name: &str) -> f64 {
    result["metrics"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {result}"))
}

#[test]
fn a_poem_ends_where_the_model_writes_an_empty_line() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "poem-gru");
    assert!(metric(&result, "perplexity") > 1.0);
    // One of two newlines in a row is the model's own, so that none is left within the sample.
    let samples = folder.read("poem-gru/samples.txt");
    assert!(samples.starts_with("the ") && !samples.trim_end().contains("\n\n"), "{samples:?}");
}

#[test]
fn a_classifier_ends_with_a_confusion_matrix_of_its_test() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "name-classifier");
    assert!(finished.stdout.contains("test accuracy"), "{}", finished.stdout);
    let table = result["tables"].as_array().unwrap().last().unwrap();
    let counts =
        table["rows"].as_array().unwrap().iter().flat_map(|row| row[1].as_array().unwrap());
    let total: f64 = counts.map(|count| count.as_f64().unwrap()).sum();
    assert_eq!(total, metric(&result, "test_count"));
    assert!(total > 0.0);
    let report = folder.read("name-classifier/report.html");
    assert!(report.contains("<th></th><th>one</th><th>two</th>"), "no confusion matrix");
    for file in ["vocabulary.json", "labels.json", "config.json", "model.safetensors"] {
        let path = format!("name-classifier/checkpoints/step-00000024/{file}");
        assert!(folder.path(&path).is_file(), "{path}");
    }
}

#[test]
fn a_tagger_of_entities_scores_spans_too() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "tagger");
    for name in ["test_accuracy", "test_macro_f1", "test_span_f1"] {
        assert!((0.0..=1.0).contains(&metric(&result, name)), "{name}");
    }
    assert_eq!(metric(&result, "test_count"), 6.0 * 6.0);
    assert!(folder.read("tagger/report.html").contains("Spans of the test part"));
}

#[test]
fn the_memory_horizon_draws_gradient_and_recall_against_distance() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "memory-horizon");
    let figures = result["figures"].as_array().unwrap();
    let points = |figure: usize| figures[figure]["lines"][0][1].as_array().unwrap().len();
    assert_eq!((points(0), points(1)), (2, 6));
    assert!(metric(&result, "gradient_lstm_shut") < metric(&result, "gradient_lstm_open"));
    assert!(folder.path("memory-horizon/plots/norm-of-the-gradient.svg").is_file());
}

#[test]
fn long_range_sets_what_is_seen_recalled_and_taken_beside_each_other() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "long-range");
    for (name, value) in [
        // Two convolutions of width 2 see 3 words, recurrent layers what came before, an encoder all.
        ("seen_before_cnn", 2.0),
        ("seen_after_cnn", 0.0),
        ("seen_before_lstm", 5.0),
        ("seen_after_lstm", 0.0),
        ("seen_before_transformer", 5.0),
        ("seen_after_transformer", 5.0),
        ("jacobian_cnn", 0.0),
        ("sequential_steps_cnn", 2.0),
        ("sequential_steps_rnn", 6.0),
        ("sequential_steps_transformer", 1.0),
        ("reads_cnn", 2.0 * 6.0 * 2.0),
        ("reads_rnn", 6.0),
        ("reads_transformer", 36.0),
    ] {
        assert_eq!(metric(&result, name), value, "{name}");
    }
    assert!(metric(&result, "jacobian_rnn") > 0.0);
    let first = result["tables"][0]["rows"][0][0].as_str().unwrap();
    assert!(finished.stdout.contains(first), "{}", finished.stdout);
    for plot in ["right-answers", "norm-of-the-initial-Jacobian", "milliseconds-forward-and-back"] {
        assert!(folder.path(&format!("long-range/plots/{plot}.svg")).is_file(), "{plot}");
    }
}

#[test]
fn new_digits_are_learned_in_three_ways_and_drawn_with_error_bars() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "digits-transfer");
    for way in ["scratch", "frozen", "fine_tuned"] {
        for n_images in [1, 3] {
            let accuracy = metric(&result, &format!("accuracy_{way}_{n_images}"));
            assert!((0.0..=1.0).contains(&accuracy), "{way}: {accuracy}");
        }
    }
    let lines = result["figures"][0]["lines"].as_array().unwrap();
    let names: Vec<&str> = lines.iter().map(|line| line[0].as_str().unwrap()).collect();
    assert_eq!(names, ["from scratch", "", "", "frozen", "", "", "fine-tuned", "", ""]);
    assert!(finished.stdout.contains("± fine-tuned"), "{}", finished.stdout);
    let too_many = folder.tiny_run_of("digits-transfer", "other", &["--set=transfer.n_images=[7]"]);
    refused(too_many, 1, &["6 images of the digit 0", "9 are asked for"]);
}

#[test]
fn models_of_three_objectives_learn_from_texts_in_five_ways_and_go_on_behind_what_they_learnt() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "transfer-text");
    let name = |model, way| format!("accuracy_{model}_{way}_2");
    for model in ["elmo", "gpt1", "bert"] {
        for way in ["scratch", "frozen", "gradual", "fine_tuned", "lora"] {
            let accuracy = metric(&result, &name(model, way));
            assert!((0.0..=1.0).contains(&accuracy), "{model}, {way}: {accuracy}");
        }
    }
    // Windows of 2 rows of 16 tokens.
    assert_eq!(metric(&result, "tokens_read_gpt1"), 24.0 * 2.0 * 16.0);
    // A head over three vectors of 8 for each of two classes.
    assert!(finished.stdout.contains("BERT, frozen, 50 trained"), "{}", finished.stdout);
    assert_eq!(result["tables"].as_array().unwrap().len(), 2);
    assert_eq!(result["figures"].as_array().unwrap().len(), 4);
    assert!(folder.path("transfer-text/gpt1/checkpoints/step-00000024/DONE").is_file());

    // Killed between two trainings, it makes only what is missing; what is there is believed.
    let mut learnt: Value =
        serde_json::from_str(&folder.read("transfer-text/learnt.json")).unwrap();
    let of = learnt["learnt"].as_object_mut().unwrap();
    assert_eq!(of.len(), 3 * 5 * 2);
    of.retain(|name, _| name.starts_with("elmo"));
    for seed in 0..2 {
        of[&format!("elmo/lora/2/{seed}")]["n_right"] = 0.into();
    }
    folder.write("transfer-text/learnt.json", learnt.to_string().as_bytes());
    let resume = ["run", "--resume", "--out", "transfer-text", "--json"];
    let again = folder.succeed(folder.emberline(&resume)).stdout;
    let again: Value = serde_json::from_str(&again).unwrap();
    let mut expected = result["metrics"].clone();
    expected[name("elmo", "lora")] = 0.0.into();
    assert_eq!(again["metrics"], expected);

    let refuse = |change: &str, words: &[&str]| {
        refused(folder.tiny_run_of("transfer-text", "other", &["--set", change]), 1, words);
    };
    let sizes =
        |n_texts| format!("transfer.sizes=[{{ n_texts = {n_texts}, steps = 10, n_seeds = 1 }}]");
    refuse(&sizes(3), &["multiple of the 2 classes"]);
    refuse(&sizes(4), &["2 of each class, but of sea there are 1"]);
}

#[test]
fn a_plan_of_a_config_is_shown_and_one_that_does_not_fit_is_refused_before_pretraining() {
    let folder = Folder::new();
    let with = |out: &str, plan: &str| {
        folder.tiny_run_of("gpt1-classify", out, &["--set", &format!("model.plan.train={plan}")])
    };
    let finished = folder.succeed(with("frozen", "{ mode = \"head\" }"));
    let table = &finished.stderr;
    assert!(table.contains("blocks.0") && table.contains("together"), "{table}");
    let pattern = with("other", "{ mode = \"matching\", patterns = [\"layers\"] }");
    refused(pattern, 1, &["`model.plan`", "\"layers\" matches no parameter", "gpt.blocks.0"]);
}

/// The tokens seen until each logged update.
fn tokens_seen(folder: &Folder, run: &str) -> Vec<u64> {
    let lines = folder.read(&format!("{run}/metrics.jsonl"));
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line["tokens_seen"].as_u64()).collect()
}

#[test]
fn a_gpt_reads_documents_in_a_row_in_updates_that_grow() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "char-gpt");
    assert!(metric(&result, "bits_per_character") > 0.0);
    // Rows of 8 tokens: 1, then 1 + 3 · 8 / 24 of them, then all 4.
    assert_eq!(tokens_seen(&folder, "char-gpt")[..4], [8, 24, 56, 88]);
    let best = folder.read("char-gpt/checkpoints/best");
    let tokenizer = folder.read(&format!("char-gpt/checkpoints/{}/tokenizer.json", best.trim()));
    assert!(tokenizer.contains("<|endoftext|>"));
    let config = folder.read("char-gpt/config.toml");
    assert!(config.contains("text.txt\"") && config.contains("poems.txt\""), "{config}");
    let generate = ["generate", "char-gpt", "--prompt", "she ", "--max-new-tokens=3"];
    folder.succeed(folder.emberline(&generate));
}

#[test]
fn a_band_as_wide_as_the_text_is_dense_attention() {
    let folder = Folder::new();
    let losses = |result: &Value| {
        ["dense", "banded"].map(|name| metric(result, &format!("validation_loss_{name}")))
    };
    let (result, finished) = run(&folder, "gpt3-banded");
    let [dense, banded] = losses(&result);
    assert!(dense != banded && finished.stdout.contains("dense against banded"), "{result}");
    // The rate of an update is that of the tokens before it: a line over the first 24 tokens.
    let lines = folder.read("gpt3-banded/metrics.jsonl");
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rates: Vec<f64> = lines.filter_map(|line| line["learning_rate"].as_f64()).collect();
    assert!(
        rates[0] == 0.0 && (rates[1] - 1e-2 / 3.0).abs() < 1e-12 && rates[2] == 1e-2,
        "{rates:?}"
    );
    assert!((rates[23] - 1e-3).abs() < 1e-12, "{rates:?}");

    let wide = folder.tiny_run_of("gpt3-banded", "wide", &["--set", "model.band=8", "--json"]);
    let wide: Value = serde_json::from_str(&folder.succeed(wide).stdout).unwrap();
    assert_eq!(losses(&wide), [dense, dense]);
}

#[test]
fn new_tasks_are_asked_of_models_of_each_depth_and_at_each_checkpoint() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "icl-emerges");
    for family in ["recall", "linear", "order"] {
        for depth in [1, 2] {
            let share = metric(&result, &format!("accuracy_{family}_{depth}_layers"));
            assert!((0.0..=1.0).contains(&share), "{result}");
        }
    }
    let table = "right answers in new tasks against the examples before";
    assert!(finished.stdout.contains(table), "{}", finished.stdout);
    // Every line has a point for each checkpoint that is kept.
    let mut figures = result["figures"].as_array().unwrap().iter();
    let by_updates = figures.find(|figure| figure["x_label"] == "updates").unwrap();
    let lines = by_updates["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 6);
    let kept = std::fs::read_dir(folder.path("icl-emerges/checkpoints")).unwrap();
    let names = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let kept = names.filter(|name| name.starts_with("step-")).count();
    let points = lines.iter().map(|line| line[1].as_array().unwrap().len());
    assert!(
        kept > 1 && points.clone().all(|n| n == kept),
        "{kept}, {:?}",
        points.collect::<Vec<_>>()
    );
}

#[test]
fn the_probabilities_of_all_sequences_sum_to_one_before_and_after_training() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "ar-sums-to-one");
    assert!(metric(&result, "greatest_difference_from_one") < 1e-6, "{result}");
    assert!(metric(&result, "greatest_difference_from_the_chain_rule") < 1e-5, "{result}");
    assert!(metric(&result, "total_variation_trained") < metric(&result, "total_variation_before"));
    assert!(finished.stdout.contains("sum of the probabilities"), "{}", finished.stdout);
}

#[test]
fn a_gpt_1_reads_first_and_is_then_asked_for_classes() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "gpt1-classify");
    assert!(finished.stderr.contains("pretraining, 12 updates"), "{}", finished.stderr);
    assert_eq!(metric(&result, "test_count"), 3.0);
    assert!(metric(&result, "pretraining_validation_loss") > 0.0);
    let best = folder.read("gpt1-classify/checkpoints/best");
    let config = folder.read(&format!("gpt1-classify/checkpoints/{}/config.json", best.trim()));
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["vocab_size"], &config["extract_token"]), (&263.into(), &262.into()));
    assert_eq!(config["id2label"], serde_json::json!({ "0": "fox", "1": "sea" }));
    // What was pretrained is a model of its own.
    let generate = ["generate", "gpt1-classify/pretraining/checkpoints/step-00000012"];
    let generate = [&generate[..], &["--prompt", "she ", "--max-new-tokens=3"]].concat();
    folder.succeed(folder.emberline(&generate));

    // A run that was stopped between both goes on with what was pretrained.
    std::fs::remove_dir_all(folder.path("gpt1-classify/checkpoints")).unwrap();
    folder.write("gpt1-classify/metrics.jsonl", b"");
    let resume = ["run", "--resume", "--out", "gpt1-classify", "--json"];
    let again: Value =
        serde_json::from_str(&folder.succeed(folder.emberline(&resume)).stdout).unwrap();
    assert_eq!(again["metrics"], result["metrics"]);

    // Or it begins with a model that is there.
    let model = folder.path("gpt1-classify/pretraining/checkpoints/step-00000012");
    let path = format!("model.path={}", model.display());
    let begun = folder.tiny_run_of("gpt1-classify", "begun", &["--set", &path, "--json"]);
    let begun: Value = serde_json::from_str(&folder.succeed(begun).stdout).unwrap();
    assert_eq!(begun["validation_loss"], result["validation_loss"]);
    assert!(!folder.path("begun/pretraining").exists());
}

#[test]
fn a_translator_ends_with_its_scores_and_what_it_attended_to_and_translates_lines() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "copy");
    assert!((0.0..=1.0).contains(&metric(&result, "test_exact_match")));
    assert!(metric(&result, "test_perplexity") > 1.0);
    assert_eq!(result["heatmaps"].as_array().unwrap().len(), 4);
    assert!(folder.path("copy/plots/attention-of-sample-1.svg").is_file());
    assert!(folder.read("copy/report.html").contains("Attention of sample 4"));
    assert!(folder.read("copy/samples.txt").contains("hypothesis  "));
    let arguments = ["predict", "translation", "copy", "--text", "0 1 2\n3 3", "--num-beams=2"];
    let lines = folder.succeed(folder.emberline(&arguments)).stdout;
    assert_eq!(lines.lines().count(), 2);
    let json = folder.succeed(folder.emberline(&[&arguments[..], &["--json"]].concat())).stdout;
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["source"], "0 1 2");
    assert_eq!(first["translation"], lines.lines().next().unwrap());
}

#[test]
fn a_translator_of_text_has_bleu_with_its_signature_and_no_attention_without_any() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "multi30k-lstm");
    for name in ["test_bleu", "test_chrf"] {
        assert!((0.0..=100.0).contains(&metric(&result, name)), "{name}");
    }
    assert!(result["heatmaps"].is_null() && result["data_sha256"].is_string());
    let samples = folder.read("multi30k-lstm/samples.txt");
    assert!(samples.starts_with("BLEU|nrefs:1|case:lc|eff:no|tok:13a"), "{samples}");
}

#[test]
fn every_recurrent_translator_learns_is_scored_and_answers_from_its_directory() {
    let folder = Folder::new();
    for (name, sizes, n_heatmaps) in [
        ("sutskever", "n_layers=2, reversed_source=true", 0),
        ("cho", "n_layers=1, d_maxout=6", 0),
        ("bahdanau", "d_alignment=6, d_maxout=6, output_state=\"current\"", 4),
        ("luong", "n_layers=2, score=\"general\", input_feeding=true, reversed_source=true", 4),
    ] {
        let sizes = format!("d_embedding=6, d_hidden=8, dropout=0.1, {sizes}");
        let model = format!("model={{name=\"{name}\", {sizes}}}");
        let run = folder.tiny_run_of("copy", name, &["--set", &model, "--json"]);
        let result: Value = serde_json::from_str(&folder.succeed(run).stdout).unwrap();
        assert!((0.0..=1.0).contains(&metric(&result, "test_exact_match")), "{name}");
        assert!(metric(&result, "test_perplexity") > 1.0, "{name}");
        let heatmaps = result["heatmaps"].as_array().map_or(0, Vec::len);
        assert_eq!(heatmaps, n_heatmaps, "{name}");
        let best = folder.read(&format!("{name}/checkpoints/best"));
        let best = format!("{name}/checkpoints/{}", best.trim());
        let [of_run, of_checkpoint] = [name, &best].map(|model| {
            let predict = ["predict", "translation", model, "--text", "0 1 2\n3 3"];
            folder.succeed(folder.emberline(&predict)).stdout
        });
        assert_eq!((of_run.lines().count(), &of_run), (2, &of_checkpoint), "{name}");
    }
}

#[test]
fn the_mean_of_the_last_checkpoints_is_tested_and_answers() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "multi30k-transformer");
    assert_eq!(metric(&result, "averaged_checkpoints"), 5.0);
    // The mean is a model without the checkpoints, and is made again when the run is asked for again.
    let resume = ["run", "--resume", "--out", "multi30k-transformer", "--json"];
    let again = folder.succeed(folder.emberline(&resume)).stdout;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["metrics"], result["metrics"]);
    std::fs::remove_dir_all(folder.path("multi30k-transformer/checkpoints")).unwrap();
    let predict = ["predict", "translation", "multi30k-transformer", "--text", "Ein Hund läuft."];
    folder.succeed(folder.emberline(&predict));
}

#[test]
fn a_bert_guesses_words_and_neighbours_and_fills_gaps() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "bert-pretrain-tiny");
    for name in ["masked_token_accuracy", "next_sentence_accuracy", "most_frequent_token"] {
        assert!((0.0..=1.0).contains(&metric(&result, name)), "{name}");
    }
    let sum = metric(&result, "masked_token_loss") + metric(&result, "next_sentence_loss");
    let best = result["validation_loss"].as_f64().unwrap();
    assert!((sum - best).abs() < 1e-4, "{sum} is not {best}");
    let samples = folder.read("bert-pretrain-tiny/samples.txt");
    let lines: Vec<&str> = samples.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "the [MASK] sat."));
    assert_eq!(lines[1].split(", ").count(), 5, "{samples}");
    // What was written is a BERT with both heads.
    let last = "bert-pretrain-tiny/checkpoints/step-00000024";
    let activations = ["activations", last, "--tokens=2,5,3", "--output=states.safetensors"];
    folder.succeed(folder.emberline(&activations));
    let without_gap = ["--set", "gaps=[\"the cat sat.\"]"];
    refused(
        folder.tiny_run_of("bert-pretrain-tiny", "other", &without_gap),
        1,
        &["[MASK]", "gaps"],
    );
}

#[test]
fn ways_of_masking_are_asked_for_tokens_of_every_way_and_for_classes() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "masking-ablation");
    let ways = ["mask_only", "random_only", "keep_only", "all_three"];
    for way in ways {
        for asked in ways {
            let name = format!("{way}_accuracy_on_{asked}");
            assert!((0.0..=1.0).contains(&metric(&result, &name)), "{name}");
        }
        assert!((0.0..=1.0).contains(&metric(&result, &format!("{way}_text_accuracy"))));
    }
    metric(&result, "untrained_text_accuracy");
    assert!(finished.stdout.contains("keep only"), "{}", finished.stdout);
    assert!(folder.path("masking-ablation/keep_only/checkpoints").is_dir());
}

#[test]
fn an_elmo_has_one_vector_of_a_word_alone_and_several_in_its_sentences() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "elmo-books");
    let losses = ["forward", "reverse"]
        .map(|direction| metric(&result, &format!("perplexity_{direction}")).ln());
    let both = metric(&result, "perplexity").ln();
    assert!((losses[0] + losses[1] - 2.0 * both).abs() < 1e-9, "{result}");
    let best = result["validation_loss"].as_f64().unwrap();
    assert!((both - best).abs() < 1e-4, "{both} is not {best}");
    assert!(metric(&result, "perplexity_unigram") > 1.0);
    let heatmaps = result["heatmaps"].as_array().unwrap();
    assert_eq!(heatmaps.len(), 3);
    let cosine = |layer: usize| heatmaps[layer]["values"][0][1].as_f64().unwrap();
    assert!((cosine(0) - 1.0).abs() < 1e-6 && cosine(1) < 0.9999 && cosine(2) < 0.9999);
    let without_word = ["--set", "meanings.word=dog"];
    refused(folder.tiny_run_of("elmo-books", "other", &without_word), 1, &["meanings", "dog"]);
}

#[test]
fn the_layers_of_a_frozen_elmo_are_mixed_into_what_a_classifier_reads() {
    let folder = Folder::new();
    let without_elmo = folder.tiny_run_of("elmo-features", "other", &["--set", "elmo.path=''"]);
    refused(without_elmo, 1, &["elmo.path"]);
    run(&folder, "elmo-books");
    let (result, _) = run(&folder, "elmo-features");
    for arm in ["without", "with"] {
        let accuracy = metric(&result, &format!("test_accuracy_{arm}"));
        assert!((0.0..=1.0).contains(&accuracy), "{arm}");
    }
    let shares = result["tables"][1]["rows"][0][1].as_array().unwrap();
    let shares: Vec<f64> = shares.iter().map(|share| share.as_f64().unwrap()).collect();
    assert!(shares.len() == 3 && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{shares:?}");
    // A mix of a new model is the mean of its layers.
    assert!(shares.iter().any(|share| (share - 1.0 / 3.0).abs() > 1e-4), "{shares:?}");
}

#[test]
fn a_run_of_any_kind_repeats_itself_resumes_to_itself_and_tells_what_it_takes() {
    let folder = Folder::new();
    for experiment in [
        "name-classifier",
        "tagger",
        "memory-horizon",
        "long-range",
        "copy",
        "gpt3-banded",
        "icl-emerges",
        "gpt1-classify",
        "bert-pretrain-tiny",
        "bert-classify",
        "digits-transfer",
        "transfer-text",
        "elmo-books",
    ] {
        let (first, _) = run(&folder, experiment);
        let config = format!("{experiment}/config.toml");
        folder.succeed(folder.emberline(&["run", "--config", &config, "--out", "again"]));
        assert_eq!(metrics(&folder.path(experiment)), metrics(&folder.path("again")));
        assert_eq!(weights(&folder.path(experiment)), weights(&folder.path("again")));
        std::fs::remove_dir_all(folder.path("again")).unwrap();

        let resume = ["run", "--resume", "--out", experiment, "--json"];
        let resumed = folder.succeed(folder.emberline(&resume)).stdout;
        let resumed: Value = serde_json::from_str(&resumed).unwrap();
        assert_eq!(resumed["metrics"], first["metrics"]);

        let dry = folder.tiny_run_of(experiment, "dry", &["--dry-run", "--json"]);
        let estimate: Value = serde_json::from_str(&folder.succeed(dry).stdout).unwrap();
        assert_eq!(estimate["parameters"], first["parameters"]);
        assert!(!folder.path("dry").exists());
    }
}

#[test]
fn a_report_compares_runs_of_different_kinds_by_what_they_share() {
    let folder = Folder::new();
    run(&folder, "name-classifier");
    run(&folder, "tagger");
    run(&folder, "memory-horizon");
    let report = |runs: &[&str]| {
        let arguments = [&["report"], runs, &["--output", "both.html"]].concat();
        folder.succeed(folder.emberline(&arguments));
        folder.read("both.html")
    };
    let both = report(&["name-classifier", "tagger"]);
    assert!(both.contains("<th>test macro f1</th>") && !both.contains("<th>test span f1</th>"));
    let other = report(&["tagger", "memory-horizon"]);
    assert!(other.contains("<th>parameters</th>") && !other.contains("<th>test accuracy</th>"));
    assert!(other.contains("<th>task</th>"), "the kinds differ");
}
