//! The heads of tasks that BERT is trained on after pretraining: each is one linear layer.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Dropout, Linear, LinearConfig};
use emberline_core::task::{Row, Token};
use emberline_core::{Stream, TaskModel, TokenBatch, TokenEncoder};

use super::heads::Head;
use super::{BertConfig, BertFor};

/// Scores of a text, of the pooled vector: of classes of which it has one, or any number, or numbers themselves. Which
/// of them, the objective decides that it is trained with.
#[derive(Module, Debug)]
pub struct ClassificationHead {
    /// `[d_model, n_classes]`.
    pub classifier: Linear,
    /// Of the pooled vector.
    pub dropout: Dropout,
}

/// Scores of the classes of every token.
#[derive(Module, Debug)]
pub struct TokenClassificationHead {
    /// `[d_model, n_classes]`.
    pub classifier: Linear,
    /// Of the vectors of the last layer.
    pub dropout: Dropout,
}

/// Two scores of every token: an answer starts here, an answer ends here.
#[derive(Module, Debug)]
pub struct AnswerHead {
    /// `[d_model, 2]`.
    pub answers: Linear,
}

/// One score of a row, of the pooled vector: a choice is between the rows of a question.
#[derive(Module, Debug)]
pub struct ChoiceHead {
    /// `[d_model, 1]`.
    pub classifier: Linear,
    /// Of the pooled vector.
    pub dropout: Dropout,
}

fn linear(config: &BertConfig, n_scores: usize, random: Stream, device: &Device) -> Linear {
    LinearConfig::new(config.d_model, n_scores).init_normal(config.deviation, random, device)
}

fn dropout(config: &BertConfig) -> Dropout {
    Dropout::new(config.classifier_dropout())
}

impl Head for ClassificationHead {
    const READS_POOLER: bool = true;

    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self {
        let classifier = linear(config, config.n_classes(), random.named("classifier"), device);
        Self { classifier, dropout: dropout(config) }
    }
}

impl Head for TokenClassificationHead {
    const READS_POOLER: bool = false;

    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self {
        let classifier = linear(config, config.n_classes(), random.named("classifier"), device);
        Self { classifier, dropout: dropout(config) }
    }
}

impl Head for AnswerHead {
    const READS_POOLER: bool = false;

    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self {
        Self { answers: linear(config, 2, random.named("answers"), device) }
    }
}

impl Head for ChoiceHead {
    const READS_POOLER: bool = true;

    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self {
        let classifier = linear(config, 1, random.named("classifier"), device);
        Self { classifier, dropout: dropout(config) }
    }
}

impl<H: Module> BertFor<H> {
    /// `[batch_size, d_model]`, with dropout.
    fn pooled(&self, batch: &TokenBatch, dropout: &Dropout) -> Tensor<2> {
        let pooled = self.bert.pooled_for_head(self.encode(batch));
        dropout.forward(pooled, batch.dropout.map(|random| random.named("head")))
    }
}

impl TaskModel for BertFor<ClassificationHead> {
    type Item = Row;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        self.head.classifier.forward(self.pooled(batch, &self.head.dropout))
    }

    fn n_classes(&self) -> usize {
        self.head.classifier.weight.lazy_shape()[1]
    }
}

impl TaskModel for BertFor<TokenClassificationHead> {
    type Item = Token;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        let random = batch.dropout.map(|random| random.named("head"));
        let hidden = self.head.dropout.forward(batch.valid(self.encode(batch)), random);
        self.head.classifier.forward(hidden)
    }

    fn n_classes(&self) -> usize {
        self.head.classifier.weight.lazy_shape()[1]
    }
}

impl TaskModel for BertFor<AnswerHead> {
    type Item = Token;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        self.head.answers.forward(batch.valid(self.encode(batch)))
    }

    fn n_classes(&self) -> usize {
        2
    }
}

impl TaskModel for BertFor<ChoiceHead> {
    type Item = Row;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        self.head.classifier.forward(self.pooled(batch, &self.head.dropout))
    }

    fn n_classes(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;

    use super::*;

    fn model<H: Head>() -> BertFor<H> {
        let config = BertConfig { classifier_dropout: Some(0.5), ..BertConfig::small() };
        let config = config.with_labels(["a", "b", "c"]);
        config.init_for(Stream::new(1), &test_device())
    }

    #[test]
    fn the_law_of_task_models_holds() {
        let device = test_device();
        laws::padding_is_hidden(&model::<ClassificationHead>(), 11, &device);
        laws::padding_is_hidden(&model::<TokenClassificationHead>(), 11, &device);
        laws::padding_is_hidden(&model::<AnswerHead>(), 11, &device);
        laws::padding_is_hidden(&model::<ChoiceHead>(), 11, &device);
    }

    #[test]
    fn there_is_a_score_for_each_class() {
        let batch = TokenBatch::padded(&[&[1, 2, 3], &[4]], &test_device());
        assert_eq!(model::<ClassificationHead>().logits(&batch).dims(), [2, 3]);
        assert_eq!(model::<TokenClassificationHead>().logits(&batch).dims(), [4, 3]);
        assert_eq!(model::<AnswerHead>().logits(&batch).dims(), [4, 2]);
        assert_eq!(model::<ChoiceHead>().logits(&batch).dims(), [2, 1]);
    }

    #[test]
    fn what_a_classifier_reads_is_dropped_only_with_a_stream() {
        let model = model::<ClassificationHead>();
        // The layers below drop nothing, so that only the head's own dropout is left to differ.
        let mut bert = model.bert.clone();
        bert.dropout.probability = 0.0;
        for block in &mut bert.blocks {
            block.dropout.probability = 0.0;
            block.attention.dropout.probability = 0.0;
        }
        let model = BertFor { bert, ..model };
        let logits = |dropout: Option<Stream>| {
            let batch = TokenBatch::from_rows(&[&[1, 2, 3]], &test_device());
            model.logits(&TokenBatch { dropout, ..batch }).into_data()
        };
        assert_eq!(logits(None), logits(None));
        assert_ne!(logits(Some(Stream::new(1))), logits(None));
    }
}
