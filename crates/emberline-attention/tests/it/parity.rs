//! Outputs, weights and all gradients are those of torch.

use burn::tensor::Tensor;
use emberline_attention::{
    BatchNorm, LayerNorm, MultiHeadAttention, MultiHeadAttentionConfig, SequenceLayerNorm,
    Visibility,
};
use emberline_backend::attention::{AttentionOptions, attention};
use emberline_core::Stream;

use crate::fixture::Fixture;

/// The module of the fixture.
fn multi_head(fixture: &Fixture) -> MultiHeadAttention {
    let [_, n_heads, ..] = *fixture.tensors["weights"].shape().as_slice() else {
        panic!("the weights of every head");
    };
    let d_model = fixture.tensors["out_proj.bias"].shape()[0];
    let config = MultiHeadAttentionConfig::new(d_model, n_heads);
    fixture.filled(config.init(Stream::new(0), &fixture.device))
}

fn self_attention(case: &str, causal: bool) {
    for fixture in Fixture::both(case) {
        let layer = multi_head(&fixture);
        let input = fixture.tracked::<3>("input");
        let lengths = fixture.lengths().expect("padding");
        let visibility = Visibility { causal, ..Visibility::lengths(&lengths) };
        let (output, weights) = layer.forward_with_weights(input.clone(), visibility, None);
        fixture.check("output", output.to_data());
        fixture.check("weights", weights.into_data());
        let gradients = fixture.backward(output);
        fixture.check_gradient("input", &input, &gradients);
        fixture.check_gradients(&layer, &gradients);
    }
}

#[test]
fn self_attention_of_several_heads_agrees_with_torch() {
    self_attention("self_attention", false);
    self_attention("causal_self_attention", true);
}

#[test]
fn cross_attention_of_several_heads_agrees_with_torch() {
    for fixture in Fixture::both("cross_attention") {
        let layer = multi_head(&fixture);
        let [input, source] = ["input", "memory"].map(|name| fixture.tracked::<3>(name));
        let memory = layer.memory(source.clone(), fixture.lengths().as_deref());
        let (output, weights) = layer.cross_with_weights(input.clone(), &memory, None);
        fixture.check("output", output.to_data());
        fixture.check("weights", weights.into_data());
        let gradients = fixture.backward(output);
        fixture.check_gradient("input", &input, &gradients);
        fixture.check_gradient("memory", &source, &gradients);
        fixture.check_gradients(&layer, &gradients);
    }
}

#[test]
fn scaled_dot_product_attention_agrees_with_torch() {
    for (case, causal) in [
        ("attention", false),
        ("causal_attention", true),
        ("padded_attention", false),
        ("scaled_attention", false),
    ] {
        for fixture in Fixture::both(case) {
            let arguments = ["query", "key", "value"].map(|name| fixture.tracked::<4>(name));
            let visible = fixture.lengths().map(|lengths| Visibility::lengths(&lengths));
            let visibility = Visibility { causal, ..visible.unwrap_or_default() };
            let scale = fixture.number("scale");
            let options = AttentionOptions { scale, visibility, dropout: None };
            let [query, key, value] = arguments.clone();
            let output = attention(query, key, value, options);
            fixture.check("output", output.to_data());
            let gradients = fixture.backward(output);
            for (name, tensor) in ["query", "key", "value"].iter().zip(&arguments) {
                fixture.check_gradient(name, tensor, &gradients);
            }
        }
    }
}

#[test]
fn layer_norm_agrees_with_torch_for_either_epsilon() {
    for (case, epsilon) in [("layer_norm", 1e-5), ("layer_norm_tiny_epsilon", 1e-12)] {
        for fixture in Fixture::both(case) {
            let input = fixture.tracked::<3>("input");
            let d_model = input.dims()[2];
            let norm = fixture.filled(LayerNorm::init(d_model, epsilon, &fixture.device));
            let output = norm.forward(input.clone());
            fixture.check("output", output.to_data());
            let gradients = fixture.backward(output);
            fixture.check_gradient("input", &input, &gradients);
            fixture.check_gradients(&norm, &gradients);
        }
    }
}

#[test]
fn layer_norm_over_whole_sentences_agrees_with_torch() {
    for fixture in Fixture::both("layer_norm_over_both") {
        let input = fixture.tracked::<3>("input");
        let [_, seq_length, d_model] = input.dims();
        let norm = SequenceLayerNorm::init(seq_length, d_model, 1e-5, &fixture.device);
        let norm = fixture.filled(norm);
        let output = norm.forward(input.clone());
        fixture.check("output", output.to_data());
        let gradients = fixture.backward(output);
        fixture.check_gradient("input", &input, &gradients);
        fixture.check_gradients(&norm, &gradients);
    }
}

#[test]
fn batch_norm_agrees_with_torch_in_training_and_in_evaluation() {
    for fixture in Fixture::both("batch_norm") {
        let input: Tensor<3> = fixture.tracked("input");
        let norm = fixture.filled(BatchNorm::init(input.dims()[2], &fixture.device));
        let (output, moved) = norm.clone().forward_training(input.clone());
        fixture.check("output", output.to_data());
        fixture.check("running_mean.after", moved.running_mean.val().into_data());
        fixture.check("running_var.after", moved.running_variance.val().into_data());
        let second = moved.forward(fixture.tensor("second_input"));
        fixture.check("second_output", second.into_data());
        let gradients = fixture.backward(output);
        fixture.check_gradient("input", &input, &gradients);
        fixture.check_gradients(&norm, &gradients);
    }
}

/// Images as text: a pixel is a token, its channels are the entries.
fn pixels(images: Tensor<4>) -> Tensor<3> {
    let [batch_size, channels, height, width] = images.dims();
    images.permute([0, 2, 3, 1]).reshape([batch_size, height * width, channels])
}

/// The other way around.
fn images(pixels: Tensor<3>, shape: [usize; 4]) -> Tensor<4> {
    let [batch_size, channels, height, width] = shape;
    pixels.reshape([batch_size, height, width, channels]).permute([0, 3, 1, 2])
}

#[test]
fn a_channel_of_images_is_an_entry_of_text_over_all_images_and_pixels() {
    for fixture in Fixture::both("batch_norm_of_images") {
        let input: Tensor<4> = fixture.tracked("input");
        let shape @ [_, channels, ..] = input.dims();
        let norm = fixture.filled(BatchNorm::init(channels, &fixture.device));
        let (output, moved) = norm.clone().forward_training(pixels(input.clone()));
        let output = images(output, shape);
        fixture.check("output", output.to_data());
        fixture.check("running_mean.after", moved.running_mean.val().into_data());
        fixture.check("running_var.after", moved.running_variance.val().into_data());
        let second = moved.forward(pixels(fixture.tensor("second_input")));
        fixture.check("second_output", images(second, shape).into_data());
        let gradients = fixture.backward(output);
        fixture.check_gradient("input", &input, &gradients);
        fixture.check_gradients(&norm, &gradients);
    }
}
