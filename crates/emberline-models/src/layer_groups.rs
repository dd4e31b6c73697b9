//! What the layers of each model are, from the input to the output.
//!
//! A norm or a dropout that several layers share is of the topmost of them, which is trained before any other.

use burn::module::{Module, ModuleDisplay};
use emberline_core::{LayerGroup, LayerGroups};

use crate::bert::{Bert, BertFor};
use crate::gpt1::Gpt1;
use crate::gpt1_task::Gpt1Task;
use crate::gpt2::Gpt2;
use crate::gpt3::Gpt3;
use crate::recurrent_classifier::RecurrentClassifier;
use crate::recurrent_tagger::RecurrentTagger;
use crate::rnn_language_model::RnnLanguageModel;
use crate::transformer::Transformer;

const EMBEDDINGS: &str = "embeddings";

impl LayerGroups for Gpt1 {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        gpt(self.blocks.len())
    }
}

impl LayerGroups for Gpt1Task {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        with_head("gpt", self.gpt.layer_groups(), &["head", "dropout"])
    }
}

impl LayerGroups for Gpt2 {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        shared_by_last(gpt(self.blocks.len()), "norm")
    }
}

impl LayerGroups for Gpt3 {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        shared_by_last(gpt(self.blocks.len()), "norm")
    }
}

impl LayerGroups for Bert {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let embeddings = ["tokens", "segments", "positions", "norm", "dropout"];
        let mut groups = vec![LayerGroup::body(EMBEDDINGS, &embeddings)];
        groups.extend(LayerGroup::layers("blocks", self.blocks.len()));
        groups.extend(self.pooler.is_some().then(|| LayerGroup::body("pooler", &["pooler"])));
        groups
    }
}

impl<H: Module + ModuleDisplay> LayerGroups for BertFor<H> {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        with_head("bert", self.bert.layer_groups(), &["head"])
    }
}

impl LayerGroups for Transformer {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let embeddings = ["embedding", "source_embedding", "positions", "dropout"];
        let mut groups = vec![LayerGroup::body(EMBEDDINGS, &embeddings)];
        groups.extend(LayerGroup::layers("encoder", self.encoder.len()));
        groups.extend(LayerGroup::layers("decoder", self.decoder.len()));
        groups
    }
}

impl LayerGroups for RnnLanguageModel {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        recurrent(self.recurrent.layers.len(), &["embedding"], &["head"])
    }
}

impl LayerGroups for RecurrentClassifier {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        recurrent(self.recurrent.layers.len(), &["embedding"], &["head", "dropout"])
    }
}

impl LayerGroups for RecurrentTagger {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        recurrent(self.recurrent.layers.len(), &["embedding"], &["head", "dropout"])
    }
}

fn gpt(n_layers: usize) -> Vec<LayerGroup> {
    let mut groups = vec![LayerGroup::body(EMBEDDINGS, &["embedding", "positions", "dropout"])];
    groups.extend(LayerGroup::layers("blocks", n_layers));
    groups
}

fn recurrent(n_layers: usize, embeddings: &[&str], head: &[&str]) -> Vec<LayerGroup> {
    let mut groups = vec![LayerGroup::body(EMBEDDINGS, embeddings)];
    groups.extend(LayerGroup::layers("recurrent.layers", n_layers));
    groups = shared_by_last(groups, "recurrent.dropout");
    groups.push(LayerGroup::head(head));
    groups
}

fn shared_by_last(mut groups: Vec<LayerGroup>, module: &str) -> Vec<LayerGroup> {
    let last = groups.last_mut().expect("the embeddings are a group");
    last.modules.push(module.to_string());
    groups
}

/// The groups of a model that is the field `field` of another one, and a head.
fn with_head(field: &str, groups: Vec<LayerGroup>, head: &[&str]) -> Vec<LayerGroup> {
    let below = groups.into_iter().map(|group| group.within(field));
    below.chain([LayerGroup::head(head)]).collect()
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::{Stream, laws};
    use emberline_recurrent::{CellKind, Merge};

    use super::*;
    use crate::bert::{BertConfig, BertForSequenceClassification};
    use crate::gpt1::Gpt1Config;
    use crate::gpt1_task::{Gpt1TaskConfig, Task};
    use crate::gpt2::Gpt2Config;
    use crate::gpt3::Gpt3Config;
    use crate::recurrent_classifier::{self, RecurrentClassifierConfig};
    use crate::recurrent_tagger::{self, RecurrentTaggerConfig};
    use crate::rnn_language_model::{self, RnnLanguageModelConfig};
    use crate::transformer::{TransformerConfig, Vocabulary};

    /// No weight is made: published sizes cost nothing.
    fn groups(check: impl LayerGroups) -> Vec<String> {
        laws::layer_groups(&check);
        check.layer_groups().into_iter().map(|group| group.name).collect()
    }

    #[test]
    fn every_parameter_of_a_transformer_is_in_one_group() {
        let (random, device) = (Stream::new(1), test_device());
        let blocks = |n: usize| (0..n).map(|layer| format!("blocks.{layer}"));
        let expected = |n: usize| -> Vec<String> {
            [EMBEDDINGS.to_string()].into_iter().chain(blocks(n)).collect()
        };
        let gpt1 = Gpt1Config::default();
        assert_eq!(groups(gpt1.init(random, &device)), expected(12));
        let task = Gpt1TaskConfig::new(gpt1, Task::Similarity { n_classes: 2 }, 3);
        assert_eq!(groups(task.init(random, &device)).last().unwrap(), "head");
        assert_eq!(groups(Gpt2Config::default().init(random, &device)), expected(12));
        let [(_, gpt3), ..] = Gpt3Config::presets();
        assert_eq!(groups(gpt3.init(random, &device)), expected(12));
        let bert = BertConfig::default();
        assert_eq!(groups(bert.init(random, &device)).last().unwrap(), "pooler");
        assert_eq!(groups(bert.init_without_pooler(random, &device)), expected(12));
        let classifier: BertForSequenceClassification = bert.init_for(random, &device);
        assert_eq!(groups(classifier).len(), 1 + 12 + 1 + 1);
        let small = Vocabulary::Separate { source: 5, target: 6 };
        let small = TransformerConfig { d_model: 8, d_ff: 8, ..TransformerConfig::base(small) };
        assert_eq!(groups(small.init(random, &device)).len(), 1 + 6 + 6);
    }

    #[test]
    fn every_parameter_of_a_recurrent_model_is_in_one_group() {
        let (random, device) = (Stream::new(1), test_device());
        let expected = [EMBEDDINGS, "recurrent.layers.0", "recurrent.layers.1", "head"];
        let language = RnnLanguageModelConfig {
            model_type: rnn_language_model::ModelType::default(),
            vocab_size: 5,
            cell: CellKind::Gru,
            d_embedding: 3,
            d_hidden: 4,
            n_layers: 2,
            dropout: 0.1,
        };
        assert_eq!(groups(language.init(random, &device)), expected);
        let classifier = RecurrentClassifierConfig {
            model_type: recurrent_classifier::ModelType::default(),
            vocab_size: 5,
            n_classes: 2,
            cell: CellKind::Lstm,
            merge: Merge::Concat,
            d_embedding: 3,
            d_hidden: 4,
            n_layers: 2,
            dropout: 0.1,
        };
        assert_eq!(groups(classifier.init(random, &device)), expected);
        let tagger = RecurrentTaggerConfig {
            model_type: recurrent_tagger::ModelType::default(),
            vocab_size: 5,
            n_classes: 2,
            cell: CellKind::Rnn,
            merge: Merge::Sum,
            d_embedding: 3,
            d_hidden: 4,
            n_layers: 2,
            dropout: 0.1,
        };
        assert_eq!(groups(tagger.init(random, &device)), expected);
    }
}
