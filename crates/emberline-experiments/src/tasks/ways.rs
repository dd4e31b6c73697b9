//! Ways in which a pretrained model learns a task, as runs compare them.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::GradientsParams;
use emberline_core::Stream;
use emberline_finetuning::Planned;
use emberline_training::{Data, Objective, OptimizerConfig, Schedule, clip_gradient_norm};

/// A way to learn a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From random weights.
    Scratch,
    /// The head alone.
    Frozen,
    /// The head first, then one more layer at a time, the lower the more slowly.
    Gradual,
    /// Everything, from where it was.
    FineTuned,
    /// The head, and adapters beside what stays as it was.
    Lora,
}

impl Way {
    /// As a reader is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "from scratch",
            Self::Frozen => "frozen",
            Self::Gradual => "gradually unfrozen",
            Self::FineTuned => "fine-tuned",
            Self::Lora => "LoRA",
        }
    }

    /// As metrics are called.
    pub fn key(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Frozen => "frozen",
            Self::Gradual => "gradual",
            Self::FineTuned => "fine_tuned",
            Self::Lora => "lora",
        }
    }
}

/// The numbers of a training that leaves nothing but its model.
pub struct Learning<'a> {
    /// The number of updates.
    pub steps: u64,
    /// The learning rate over them.
    pub schedule: Schedule,
    /// How gradients change weights.
    pub optimizer: &'a OptimizerConfig,
    /// The norm of all gradients together above which they are scaled down to it.
    pub max_grad_norm: Option<f64>,
    /// What dropout draws from, if it is to drop anything.
    pub dropout: Option<Stream>,
}

impl Learning<'_> {
    /// The model after the updates of a plan. An update is one batch.
    pub fn learn<M, O, D>(&self, model: M, planned: &Planned, objective: &O, data: &D) -> M
    where
        M: Module,
        O: Objective<M, Carry = ()>,
        D: Data<Batch = O::Batch>,
    {
        let mut optimizer = planned.optimizer(self.optimizer, &model);
        let mut model = model;
        for step in 0..self.steps {
            model = planned.prepare(step, model);
            let dropout = self.dropout.map(|random| random.at(step));
            for batch in data.update(step) {
                let (loss, ()) = objective.loss(&model, &batch, None, dropout);
                let gradients = loss.total(&objective.counts(&batch)).backward();
                let mut gradients = GradientsParams::from_grads(gradients, &model);
                if let Some(max_norm) = self.max_grad_norm {
                    clip_gradient_norm(&model, &mut gradients, max_norm);
                }
                let rate = self.schedule.learning_rate(step, 0, self.steps);
                model = optimizer.step(rate, model, gradients);
            }
        }
        model
    }
}

/// So many places of each label, drawn.
pub fn drawn_by_label(labels: &[u32], n_each: usize, random: Stream) -> Vec<usize> {
    let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
    let mut drawn = random.permutation(labels.len());
    drawn.retain(|place| {
        let count = taken.entry(labels[*place]).or_default();
        *count += 1;
        *count <= n_each
    });
    drawn
}

/// The mean, and the standard deviation of single values.
pub fn mean_and_deviation(values: &[f64]) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    [mean, (squares / (n - 1.0).max(1.0)).sqrt()]
}

/// What several seeds score, against what they learn from.
pub struct Curve {
    /// What is shown of it.
    pub name: String,
    /// How much is learned from, and the mean and the deviation.
    pub points: Vec<(f64, [f64; 2])>,
}

impl Curve {
    /// A row of means in a table, and one of deviations.
    pub fn rows(&self) -> [(String, Vec<f64>); 2] {
        let row = |index: usize| self.points.iter().map(|(_, numbers)| numbers[index]).collect();
        [(self.name.clone(), row(0)), (format!("± {}", self.name), row(1))]
    }

    /// A line in a figure, with an error bar at each point.
    pub fn lines(&self) -> Vec<(String, Vec<(f64, f64)>)> {
        let means = self.points.iter().map(|(x, [mean, _])| (*x, *mean)).collect();
        let bars = self.points.iter().map(|(x, [mean, deviation])| {
            (String::new(), vec![(*x, mean - deviation), (*x, mean + deviation)])
        });
        [(self.name.clone(), means)].into_iter().chain(bars).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_deviation_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), [2.0, 2f64.sqrt()]);
        assert_eq!(mean_and_deviation(&[5.0]), [5.0, 0.0]);
    }

    #[test]
    fn as_many_places_of_each_label_are_drawn() {
        let labels: Vec<u32> = (0..30).map(|index| index % 3).collect();
        let drawn = drawn_by_label(&labels, 4, Stream::new(1));
        assert_eq!(drawn.len(), 12);
        for label in 0..3 {
            assert_eq!(drawn.iter().filter(|place| labels[**place] == label).count(), 4);
        }
    }

    #[test]
    fn a_curve_has_its_means_and_their_deviations() {
        let curve = Curve { name: "frozen".into(), points: vec![(1.0, [0.5, 0.25])] };
        let [means, deviations] = curve.rows();
        assert_eq!(means, ("frozen".to_string(), vec![0.5]));
        assert_eq!(deviations, ("± frozen".to_string(), vec![0.25]));
        let bar = (String::new(), vec![(1.0, 0.25), (1.0, 0.75)]);
        assert_eq!(curve.lines(), [("frozen".to_string(), vec![(1.0, 0.5)]), bar]);
    }
}
