//! How much of a class a linear layer finds in vectors that stay as they are.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{Linear, LinearConfig, cross_entropy};
use emberline_core::{Count, Loss, Stream};
use emberline_evaluation::best_class;
use emberline_finetuning::ExampleBatch;
use emberline_training::Objective;

/// One linear layer on vectors.
#[derive(Module, Debug)]
pub struct Probe {
    /// `[d_model, n_classes]`.
    classifier: Linear,
}

impl Probe {
    /// A layer of small random weights.
    pub fn init(d_model: usize, n_classes: usize, random: Stream, device: &Device) -> Self {
        let linear = LinearConfig::new(d_model, n_classes);
        Self { classifier: linear.init_normal(0.02, random, device) }
    }

    /// The class with the highest score of each vector.
    ///
    /// The layer is one on the plain `device`.
    pub fn classes(&self, vectors: &[Vec<f32>], device: &Device) -> Vec<u32> {
        let [d_model, n_classes] = self.classifier.weight.lazy_shape().dims();
        let vectors = TensorData::new(vectors.concat(), [vectors.len(), d_model]);
        let scores = self.classifier.forward(Tensor::<2>::from_data(vectors, device));
        let scores: Vec<f32> = scores.into_data().iter().collect();
        scores.chunks(n_classes).map(best_class).collect()
    }
}

/// A vector and its class.
pub struct VectorExample {
    /// The vector.
    pub vector: Vec<f32>,
    /// The class.
    pub class: u32,
}

/// Vectors, `[batch_size, d_model]`, and their classes, `[batch_size]`.
pub struct VectorBatch {
    vectors: Tensor<2>,
    classes: Tensor<1, Int>,
}

impl ExampleBatch for VectorBatch {
    type Example = VectorExample;

    fn new(examples: &[&VectorExample], device: &Device) -> Self {
        let numbers: Vec<f32> =
            examples.iter().flat_map(|example| &example.vector).copied().collect();
        let shape = [examples.len(), numbers.len() / examples.len()];
        let classes: Vec<i32> = examples.iter().map(|example| example.class as i32).collect();
        Self {
            vectors: Tensor::from_data(TensorData::new(numbers, shape), device),
            classes: Tensor::from_data(classes.as_slice(), device),
        }
    }

    fn length(_example: &VectorExample) -> usize {
        1
    }
}

/// The class of a vector.
pub struct VectorClass;

impl Objective<Probe> for VectorClass {
    type Batch = VectorBatch;
    type Carry = ();

    fn counts(&self, batch: &VectorBatch) -> Vec<Count> {
        vec![Count { term: "classification", count: batch.classes.dims()[0] as f64 }]
    }

    fn loss(
        &self,
        probe: &Probe,
        batch: &VectorBatch,
        _carry: Option<()>,
        _dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let scores = probe.classifier.forward(batch.vectors.clone());
        (Loss::single("classification", cross_entropy(scores, batch.classes.clone())), ())
    }
}
