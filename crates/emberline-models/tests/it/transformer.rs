//! The Transformer against the layers of torch that `tests/fixtures/transformer.py` writes down.

use burn::tensor::Tensor;
use emberline_backend::test_device;
use emberline_checkpoint::{Weights, load_weights};
use emberline_core::{EncoderDecoder, Stream, TokenBatch};
use emberline_models::transformer::{Transformer, TransformerConfig, Vocabulary};

use crate::fixture;
use crate::values::Values;

#[test]
fn the_transformer_is_made_of_torchs_layers() {
    let device = test_device().autodiff();
    let config = TransformerConfig {
        d_model: 8,
        d_ff: 12,
        n_heads: 2,
        n_encoder_layers: 2,
        n_decoder_layers: 2,
        dropout: 0.0,
        ..TransformerConfig::base(Vocabulary::Separate { source: 7, target: 9 })
    };
    let weights = Weights::open(fixture("transformer.safetensors")).unwrap();
    for values in Values::both(&fixture("transformer_values")) {
        let model = values.cast(config.init(Stream::new(1), &device));
        let model = load_weights(model, &weights, &Transformer::stored_name).unwrap();

        let lengths = values.tensors["lengths"].iter::<i64>().map(|n| n as usize).collect();
        let source =
            TokenBatch { lengths: Some(lengths), ..TokenBatch::new(values.tokens("source")) };
        let target = TokenBatch::new(values.tokens("target"));
        let (hidden, attention, _) = model.decode_with_attention(&target, model.encode(&source));
        values.check("hidden", hidden.to_data());
        for (layer, weights) in attention.into_iter().enumerate() {
            values.check(&format!("attention.{layer}"), weights.into_data());
        }
        let w_out = Tensor::from_data(values.tensors["w_out"].clone(), (&device, values.dtype));
        let gradients = (hidden * w_out).sum().backward();
        values.check_gradients(&model, &gradients, &Transformer::stored_name);
    }
}
