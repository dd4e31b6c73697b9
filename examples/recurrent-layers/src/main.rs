//! A deep bidirectional GRU that learns whether a row of bits begins and ends alike, with Burn's own
//! optimizer.
//!
//!     cargo run --release -p emberline-example-recurrent-layers

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::softplus;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::{DeviceError, DeviceName, Linear, LinearConfig};
use emberline_recurrent::{BiGru, GruConfig, Merge, Stream};

const BATCH_SIZE: usize = 64;
const SEQ_LENGTH: usize = 8;

/// Layers that read both ways, and a score for each row.
#[derive(Module, Debug)]
struct Network {
    layers: BiGru,
    head: Linear,
}

/// Rows of bits, each of its own length.
struct Batch {
    /// `[batch_size, seq_length, 1]`; what follows the end of a row is never read.
    bits: Tensor<3>,
    lengths: Vec<usize>,
    /// 1 where a row begins and ends alike, else -1; `[batch_size, 1]`.
    answers: Tensor<2>,
}

impl Network {
    fn init(random: Stream, device: &Device) -> Self {
        let config = GruConfig::new(1, 16, 2);
        let layers = config.init_bidirectional(Merge::Concat, random.named("layers"), device);
        let head = LinearConfig::new(layers.d_output(), 1).init(random.named("head"), device);
        Self { layers, head }
    }

    /// Positive for "alike", `[batch_size, 1]`.
    fn scores(&self, batch: &Batch) -> Tensor<2> {
        let (_, state) = self.layers.forward(batch.bits.clone(), None, Some(&batch.lengths), None);
        self.head.forward(self.layers.last_output(&state))
    }
}

impl Batch {
    fn draw(random: Stream, device: &Device) -> Self {
        let (mut bits, mut lengths, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..BATCH_SIZE as u64 {
            let random = random.at(row);
            let row: Vec<bool> = (0..SEQ_LENGTH as u64).map(|i| random.below(i, 2) == 1).collect();
            let length = 2 + random.named("length").below(0, SEQ_LENGTH - 1);
            answers.push(if row[0] == row[length - 1] { 1.0 } else { -1.0 });
            bits.extend(row.into_iter().map(f32::from));
            lengths.push(length);
        }
        let answers: TensorData = TensorData::new::<f32, _>(answers, [BATCH_SIZE, 1]);
        let bits = TensorData::new(bits, [BATCH_SIZE, SEQ_LENGTH, 1]);
        Self {
            bits: Tensor::from_data(bits, device),
            lengths,
            answers: Tensor::from_data(answers, device),
        }
    }
}

/// Trains a network and gives the share of new rows that it answers rightly.
fn train(steps: u64, device: &Device) -> f32 {
    let random = Stream::new(1);
    let mut network = Network::init(random.named("network"), &device.clone().autodiff());
    let mut optimizer = AdamConfig::new().init();
    for step in 0..steps {
        let batch = Batch::draw(random.named("batch").at(step), &device.clone().autodiff());
        // The logistic loss, -ln σ(answer · score).
        let loss = softplus(-(network.scores(&batch) * batch.answers), 1.0).mean();
        if step % 25 == 0 {
            println!("step {step:>3}  loss {:.4}", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(0.01, network, gradients);
    }
    let batch = Batch::draw(random.named("test"), device);
    let right = (network.valid().scores(&batch) * batch.answers).greater_elem(0.0);
    right.float().mean().into_scalar()
}

fn main() -> Result<(), DeviceError> {
    let device = DeviceName::Flex.open()?;
    println!("answers rightly: {:.0} %", 100.0 * train(300, &device));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_learns_its_task() {
        assert!(train(300, &emberline_backend::test_device()) > 0.95);
    }
}
