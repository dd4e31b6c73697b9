//! The encoder of the Transformer and the training step of a small causal decoder, against their twin in PyTorch,
//! `transformer_torch.py` beside this file. Prints one JSON object a line.

mod support;

use std::hint::black_box;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use emberline_backend::attention::Visibility;
use emberline_backend::{CrossEntropyOptions, Embedding, linear_cross_entropy};
use emberline_core::EncoderDecoder;
use emberline_core::{HeadWeights, Stream, TokenBatch};
use emberline_models::transformer::{EncoderLayer, TransformerConfig, Vocabulary};
use emberline_training::{AdamWConfig, OptimizerConfig};
use support::{report, tokens};

/// Token vectors, causal layers, and the table again as the head.
#[derive(Module, Debug)]
struct Decoder {
    embedding: Embedding,
    layers: Vec<EncoderLayer>,
}

impl Decoder {
    fn loss(&self, tokens: Tensor<2, Int>, targets: Tensor<1, Int>) -> Tensor<1> {
        let causal = Visibility { causal: true, ..Visibility::default() };
        let embedded = self.embedding.forward(tokens);
        let [batch_size, seq_length, d_model] = embedded.dims();
        let hidden = self
            .layers
            .iter()
            .fold(embedded, |hidden, layer| layer.forward(hidden, causal.clone(), None));
        let hidden = hidden.reshape([batch_size * seq_length, d_model]);
        let head = HeadWeights::tied(self.embedding.weight.val(), None);
        let sum = linear_cross_entropy(hidden, head, targets, CrossEntropyOptions::default());
        sum / (batch_size * seq_length) as f64
    }
}

fn main() {
    support::set_up();
    let device = Device::flex();
    let base = TransformerConfig {
        // They would compute the keys and values of their attention to the source.
        n_decoder_layers: 0,
        ..TransformerConfig::base(Vocabulary::Shared(1000))
    };
    let base = base.init(Stream::new(0), &device);
    let source = TokenBatch::new(tokens(1, [8, 128], 1000, &device));
    report("encoder base forward 8x128", 20, || {
        black_box(base.encode(&source));
    });

    let device = device.autodiff();
    let config = TransformerConfig {
        d_model: 128,
        d_ff: 512,
        n_heads: 4,
        n_encoder_layers: 4,
        n_decoder_layers: 0,
        dropout: 0.0,
        ..TransformerConfig::base(Vocabulary::Shared(512))
    };
    let model = config.init(Stream::new(0), &device);
    let mut decoder = Decoder { embedding: model.embedding, layers: model.encoder };
    let mut optimizer = OptimizerConfig::AdamW(AdamWConfig::default()).init(&decoder);
    let plain = device.inner();
    let (tokens, targets) = (tokens(1, [4, 128], 512, &plain), tokens(1, [1, 512], 512, &plain));
    report("decoder training step 4x128", 100, || {
        let loss = decoder.loss(tokens.clone(), targets.clone().reshape([512]));
        let gradients = GradientsParams::from_grads(loss.backward(), &decoder);
        decoder = optimizer.step(1e-4, decoder.clone(), gradients);
    });
}
