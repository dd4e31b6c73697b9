//! What a plan freezes stays as it is, to the last bit.

use burn::module::Module;
use burn::optim::GradientsParams;
use emberline_backend::test_device;
use emberline_core::parameters::parameters;
use emberline_core::{Stream, TaskModel, TokenBatch, TokenEncoder};
use emberline_finetuning::{Classification, LayerRates, Plan, Train};
use emberline_models::bert::{BertConfig, BertForSequenceClassification};
use emberline_text::Example;
use emberline_training::{AdamWConfig, OptimizerConfig};

use crate::{bits_of, examples, train_planned};

fn model() -> BertForSequenceClassification {
    let config = BertConfig {
        vocab_size: crate::VOCAB_SIZE,
        d_model: 8,
        d_ff: 12,
        n_layers: 2,
        n_heads: 2,
        n_positions: 16,
        dropout: 0.3,
        attention_dropout: 0.3,
        deviation: 0.3,
        ..BertConfig::default()
    };
    config.init_for(Stream::new(1), &test_device().autodiff())
}

fn rows() -> Vec<Example> {
    examples(1, |tokens| vec![u32::from(tokens.contains(&0))])
}

/// Updates of a plan, and the bits of the parameters of each group before and after.
fn groups(plan: &Plan, steps: u64) -> Vec<(String, bool)> {
    let model = model();
    let planned = plan.of(&model).unwrap();
    let before = bits_of(&model);
    let after = bits_of(&train_planned(model, &Classification, &rows(), steps, &planned));
    let is_equal = |path: &str| before[path] == after[path];
    let paths = before.keys().map(|path| (path.clone(), is_equal(path)));
    paths.collect()
}

#[test]
fn a_frozen_body_is_equal_to_the_last_bit_and_its_head_is_not() {
    for (path, is_equal) in groups(&Plan::new(Train::Head), 5) {
        assert_eq!(is_equal, path.starts_with("bert."), "{path}");
    }
}

#[test]
fn a_fine_tuned_model_moves_everywhere() {
    for rates in [LayerRates::Equal, LayerRates::Discriminative { factor: 2.6 }] {
        let plan = Plan { rates, ..Plan::default() };
        for (path, is_equal) in groups(&plan, 5) {
            assert!(!is_equal, "{path}");
        }
    }
}

#[test]
fn a_layer_that_thaws_later_is_equal_until_then() {
    let plan = Plan::new(Train::Gradual { updates_per_layer: 3 });
    // The head, then the pooler; the last block comes with the seventh update.
    for (steps, thawed) in
        [(6, vec!["head", "bert.pooler"]), (7, vec!["head", "bert.pooler", "bert.blocks.1"])]
    {
        for (path, is_equal) in groups(&plan, steps) {
            let is_thawed = thawed.iter().any(|module| path.starts_with(module));
            assert_eq!(is_equal, !is_thawed, "{path} after {steps} updates");
        }
    }
}

#[test]
fn what_is_frozen_drops_nothing_in_training() {
    let model = model();
    let batch =
        |dropout| TokenBatch { dropout, ..TokenBatch::from_rows(&[&[1, 2, 3]], &test_device()) };
    let vectors =
        |model: &BertForSequenceClassification, dropout| model.encode(&batch(dropout)).into_data();
    let random = Some(Stream::new(3));
    assert_ne!(vectors(&model, random), vectors(&model, None));
    let expected = vectors(&model.valid(), None);
    let frozen = Plan::new(Train::Head).of(&model).unwrap().prepare(0, model);
    assert_eq!(vectors(&frozen, random), expected);
    // The head's own dropout goes on.
    let logits = |dropout| frozen.logits(&batch(dropout)).into_data();
    assert_ne!(logits(random), logits(None));
}

#[test]
fn what_is_frozen_has_no_gradient_and_no_state_of_the_optimizer() {
    let config = OptimizerConfig::AdamW(AdamWConfig::default());
    let kept = |train| {
        let model = model();
        let planned = Plan::new(train).of(&model).unwrap();
        let model = planned.prepare(0, model);
        let mut optimizer = planned.optimizer(&config, &model);
        let batch = TokenBatch::from_rows(&[&[1, 2, 3]], &test_device());
        let gradients = model.logits(&batch).square().sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        let n_gradients = gradients.len();
        optimizer.step(0.1, model, gradients);
        (n_gradients, optimizer.to_record().len())
    };
    let (head, all) = (kept(Train::Head), kept(Train::Full));
    assert_eq!(head.0, 2, "the weight and the bias of the head");
    assert_eq!(all.0, parameters(&model()).len());
    assert_eq!(head.1 * all.0, all.1 * head.0, "as much state for each parameter that is trained");
}
