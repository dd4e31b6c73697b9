//! A head on features that are kept against the head of the frozen model that makes them.

use burn::module::Module;
use burn::tensor::Tensor;
use emberline_backend::test_device;
use emberline_core::Stream;
use emberline_finetuning::{
    Classification, ClassifierConfig, FeatureBatches, FeatureCache, FeatureClassification,
    FeatureHead, LabelledBatches, Plan, Pooling, Train,
};
use emberline_models::bert::BertConfig;
use emberline_text::Example;

use crate::{VOCAB_SIZE, run};

/// Rows of one length, so that their order hangs on nothing else than the seed.
fn examples() -> Vec<Example> {
    let row = |row: u64| {
        let tokens: Vec<u32> =
            (0..5).map(|token| Stream::new(row).below(token, VOCAB_SIZE) as u32).collect();
        Example { labels: vec![u32::from(tokens.contains(&0))], tokens, segments: Vec::new() }
    };
    (0..40).map(row).collect()
}

#[test]
fn a_head_on_kept_features_learns_what_it_learns_on_the_frozen_model() {
    const STEPS: u64 = 12;
    let device = test_device().autodiff();
    let bert = BertConfig {
        vocab_size: VOCAB_SIZE,
        d_model: 8,
        d_ff: 12,
        n_layers: 1,
        n_heads: 2,
        n_positions: 8,
        deviation: 0.5,
        ..BertConfig::default()
    };
    let random = Stream::new(3);
    let config = ClassifierConfig { n_classes: 2, pooling: Pooling::Mean, dropout: 0.0 };
    let encoder = bert.init_without_pooler(random, &device);
    let model = config.init(encoder, random, &device);
    let data = LabelledBatches::new(examples(), examples(), 16, Stream::new(2), &device).unwrap();
    let planned = Plan::new(Train::Head).of(&model).unwrap();
    let valid = model.valid();
    let frozen = run(model, &Classification, &data, STEPS, &device, Some(&planned));

    let folder = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(folder.path()).unwrap();
    let examples = examples();
    let rows: Vec<&[u32]> = examples.iter().map(|example| &example.tokens[..]).collect();
    let labels: Vec<u32> = examples.iter().map(|example| example.labels[0]).collect();
    let features =
        cache.of_texts(&valid.encoder, Pooling::Mean, &rows, 16, &test_device()).unwrap();
    let part = (features, labels);
    let data = FeatureBatches::new(part.clone(), part, 16, Stream::new(2)).unwrap();
    let head = FeatureHead::init(8, 2, 0.0, random, &device);
    let head = run(head, &FeatureClassification, &data, STEPS, &device, None);

    let difference = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>();
    let found = difference(head.head.weight.val(), frozen.head.weight.val());
    assert!(found < 1e-5, "the heads differ by {found}");
    assert!(difference(head.head.weight.val().inner(), valid.head.weight.val()) > 0.05);
}
