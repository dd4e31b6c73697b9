//! A training step of ELMo on a GPU, or on a software device that stands for one, against the CPU.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::device::DeviceName;
use emberline_core::{CharacterEncoder, Stream};
use emberline_embeddings::elmo::{
    CharacterCnnConfig, ElmoConfig, ElmoLanguageModel, ElmoLanguageModelConfig, Filter,
};
use emberline_pretraining::{BothWaysWindows, NextWordBothWays, ReadBothWays, predicted_words};
use emberline_text::Lexicon;
use emberline_training::{AdagradConfig, Data, Objective, OptimizerConfig};

use crate::gpu::{assert_near, gpu};

/// The loss of a step, the parameters after it, and what the model then makes of a sentence.
fn trained(device: &Device) -> Vec<TensorData> {
    let sentences = ["the cat sat on the mat", "the dog saw the cat", "a dog ran"]
        .map(|sentence| sentence.split(' ').map(str::to_string).collect::<Vec<_>>())
        .to_vec();
    let vocabulary = predicted_words(&sentences, 1).unwrap();
    let text = ReadBothWays::new(&sentences, &vocabulary).unwrap();
    let data = BothWaysWindows::new(text.clone(), text, [2, 5], device).unwrap();
    let small = ElmoConfig::small();
    let filters = [(1, 3), (3, 5)].map(|(width, count)| Filter { width, count }).to_vec();
    let config = ElmoLanguageModelConfig {
        elmo: ElmoConfig {
            characters: CharacterCnnConfig { filters, ..small.characters.clone() },
            d_hidden: 9,
            d_output: 6,
            cell_clip: Some(0.3),
            projection_clip: Some(0.2),
            ..small
        },
        vocab_size: vocabulary.size(),
    };
    let model = config.init(Stream::new(1), device);
    let objective = NextWordBothWays { n_sampled: Some(5) };
    let batch = &data.update(0)[0];
    let counts = Objective::<ElmoLanguageModel>::counts(&objective, batch);
    let (loss, _) = objective.loss(&model, batch, None, Some(Stream::new(2)));
    let loss = loss.total(&counts);
    let adagrad = AdagradConfig { initial_accumulator: 1.0, epsilon: 0.0 };
    let mut optimizer = OptimizerConfig::Adagrad(adagrad).init(&model);
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let model = optimizer.step(0.2, model, gradients);

    let mut values = Values(vec![loss.into_data()]);
    model.visit(&mut values);
    let sentence = Lexicon::sentences(&[vec!["a", "cat", "ran"]], &device.clone().inner());
    values.0.extend(model.valid().elmo.layers(&sentence).into_iter().map(Tensor::into_data));
    values.0
}

struct Values(Vec<TensorData>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_data());
    }
}

#[test]
fn a_training_step_of_elmo_is_that_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    assert_near("elmo", &trained(&flex.autodiff()), &trained(&gpu.autodiff()));
}
