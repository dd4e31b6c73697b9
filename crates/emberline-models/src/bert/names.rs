//! The names of a BERT's parameters in files: those of `transformers`, and those of Google's own checkpoints.

use emberline_checkpoint::{PublishedNames, Stored, Tied, Weights};

use super::Bert;

/// The parts of a path that say where a parameter is, without those of the model that it is in.
enum Place<'a> {
    /// Of the embeddings: a table, or a parameter of the norm.
    Embedding(&'a str, &'a str),
    /// Of a layer: its number, the module within it, the parameter.
    Block(&'a str, [&'a str; 2], &'a str),
    /// Of the pooler, or of a head: the module, the parameter.
    Head(&'a str, &'a str),
    WordBias,
}

fn place(path: &str) -> Option<Place<'_>> {
    let parts: Vec<&str> = path.split('.').collect();
    Some(match parts.as_slice() {
        [.., "blocks", layer, module @ ("attention" | "feed_forward"), part, parameter] => {
            Place::Block(layer, [module, part], parameter)
        }
        [.., "blocks", layer, norm, parameter] => Place::Block(layer, [norm, ""], parameter),
        [.., module @ ("tokens" | "segments" | "positions" | "norm"), parameter] => {
            Place::Embedding(module, parameter)
        }
        [
            ..,
            module @ ("pooler" | "transform" | "transform_norm" | "pairs" | "classifier"
            | "answers"),
            parameter,
        ] => Place::Head(module, parameter),
        [.., "word_bias"] => Place::WordBias,
        _ => return None,
    })
}

impl Bert {
    /// The name of a parameter in files, with or without a head: that of `transformers`, whose linear layers are the
    /// transpose of ours.
    pub fn stored_name(path: &str) -> Stored {
        let Some(place) = place(path) else { return Stored::same(path) };
        let (module, parameter) = match place {
            Place::Embedding(module, parameter) => {
                let module = match module {
                    "tokens" => "word_embeddings",
                    "segments" => "token_type_embeddings",
                    "positions" => "position_embeddings",
                    _ => "LayerNorm",
                };
                (format!("bert.embeddings.{module}"), parameter)
            }
            Place::Block(layer, module, parameter) => {
                let module = match module {
                    ["attention", "output"] => "attention.output.dense".to_string(),
                    ["attention", part] => format!("attention.self.{part}"),
                    ["attention_norm", _] => "attention.output.LayerNorm".to_string(),
                    ["feed_forward", "inner"] => "intermediate.dense".to_string(),
                    ["feed_forward", _] => "output.dense".to_string(),
                    _ => "output.LayerNorm".to_string(),
                };
                (format!("bert.encoder.layer.{layer}.{module}"), parameter)
            }
            Place::Head(module, parameter) => {
                let module = match module {
                    "pooler" => "bert.pooler.dense",
                    "transform" => "cls.predictions.transform.dense",
                    "transform_norm" => "cls.predictions.transform.LayerNorm",
                    "pairs" => "cls.seq_relationship",
                    "answers" => "qa_outputs",
                    _ => "classifier",
                };
                (module.to_string(), parameter)
            }
            Place::WordBias => return Stored::same("cls.predictions.bias"),
        };
        match parameter {
            "weight" if module.contains("_embeddings") => Stored::same(&format!("{module}.weight")),
            "weight" => Stored::transposed(&format!("{module}.weight")),
            "table" | "gamma" => Stored::same(&format!("{module}.weight")),
            _ => Stored::same(&format!("{module}.bias")),
        }
    }

    /// The name of a parameter in a file that was made of one of Google's checkpoints: that of TensorFlow, whose
    /// kernels lie as ours do. The weights of heads, which are no kernels, are the transpose.
    pub fn tensorflow_name(path: &str) -> Stored {
        let Some(place) = place(path) else { return Stored::same(path) };
        let (module, parameter) = match place {
            Place::Embedding("norm", parameter) => {
                ("bert/embeddings/LayerNorm".to_string(), parameter)
            }
            Place::Embedding(module, _) => {
                let table = match module {
                    "tokens" => "word_embeddings",
                    "segments" => "token_type_embeddings",
                    _ => "position_embeddings",
                };
                return Stored::same(&format!("bert/embeddings/{table}"));
            }
            Place::Block(layer, module, parameter) => {
                let module = match module {
                    ["attention", "output"] => "attention/output/dense".to_string(),
                    ["attention", part] => format!("attention/self/{part}"),
                    ["attention_norm", _] => "attention/output/LayerNorm".to_string(),
                    ["feed_forward", "inner"] => "intermediate/dense".to_string(),
                    ["feed_forward", _] => "output/dense".to_string(),
                    _ => "output/LayerNorm".to_string(),
                };
                (format!("bert/encoder/layer_{layer}/{module}"), parameter)
            }
            Place::Head(module @ ("pairs" | "answers" | "classifier"), parameter) => {
                let before = match module {
                    "pairs" => "cls/seq_relationship/",
                    "answers" => "cls/squad/",
                    _ => "",
                };
                return match parameter {
                    "weight" => Stored::transposed(&format!("{before}output_weights")),
                    _ => Stored::same(&format!("{before}output_bias")),
                };
            }
            Place::Head(module, parameter) => {
                let module = match module {
                    "pooler" => "bert/pooler/dense",
                    "transform" => "cls/predictions/transform/dense",
                    _ => "cls/predictions/transform/LayerNorm",
                };
                (module.to_string(), parameter)
            }
            Place::WordBias => return Stored::same("cls/predictions/output_bias"),
        };
        let parameter = if parameter == "weight" { "kernel" } else { parameter };
        Stored::same(&format!("{module}/{parameter}"))
    }

    /// In which ways published files differ.
    pub const PUBLISHED_NAMES: PublishedNames = PublishedNames {
        prefix: "bert.",
        buffers: &["embeddings.position_ids", "embeddings.token_type_ids"],
        renamed: &[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
        heads: &[
            "bert.pooler.",
            "cls.predictions.",
            "cls.seq_relationship.",
            "classifier.",
            "qa_outputs.",
        ],
        tied: &[
            Tied {
                name: "cls.predictions.decoder.weight",
                same_as: "bert.embeddings.word_embeddings.weight",
            },
            Tied { name: "cls.predictions.decoder.bias", same_as: "cls.predictions.bias" },
        ],
    };

    /// The same of files with TensorFlow's names, which hold what the optimizer kept too.
    pub const TENSORFLOW_NAMES: PublishedNames = PublishedNames {
        prefix: "bert/",
        buffers: &["adam_m", "adam_v", "global_step"],
        renamed: &[],
        heads: &[
            "bert/pooler/",
            "cls/predictions/",
            "cls/seq_relationship/",
            "cls/squad/",
            "output_weights",
            "output_bias",
        ],
        tied: &[],
    };

    /// Which of both kinds of names a file has, and the name of a parameter in it.
    pub fn names_of(weights: &Weights) -> (&'static PublishedNames, fn(&str) -> Stored) {
        match weights.names().any(|name| name.starts_with(Self::TENSORFLOW_NAMES.prefix)) {
            true => (&Self::TENSORFLOW_NAMES, Self::tensorflow_name),
            false => (&Self::PUBLISHED_NAMES, Self::stored_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::Stream;
    use emberline_core::parameters::parameters;

    use super::super::{BertConfig, BertForPreTraining, BertForQuestionAnswering};
    use super::*;

    /// The names of all parameters of a small model of pretraining, with their shapes in the file.
    fn names(table: fn(&str) -> Stored) -> Vec<(String, Vec<usize>)> {
        let config = BertConfig { n_layers: 1, ..BertConfig::small() };
        let model: BertForPreTraining = config.init_for(Stream::new(1), &test_device());
        let name = |(path, mut shape): (String, Vec<usize>)| {
            let Stored { name, transposed } = table(&path);
            if transposed {
                shape.reverse();
            }
            (name, shape)
        };
        parameters(&model).into_iter().map(|p| name((p.path, p.shape))).collect()
    }

    fn check(found: Vec<(String, Vec<usize>)>, expected: &[(&str, &[usize])]) {
        let found: Vec<_> =
            found.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_and_layouts_are_those_of_transformers() {
        check(
            names(Bert::stored_name),
            &[
                ("bert.embeddings.word_embeddings.weight", &[11, 6]),
                ("bert.embeddings.token_type_embeddings.weight", &[2, 6]),
                ("bert.embeddings.position_embeddings.weight", &[10, 6]),
                ("bert.embeddings.LayerNorm.weight", &[6]),
                ("bert.embeddings.LayerNorm.bias", &[6]),
                ("bert.encoder.layer.0.attention.self.query.weight", &[6, 6]),
                ("bert.encoder.layer.0.attention.self.query.bias", &[6]),
                ("bert.encoder.layer.0.attention.self.key.weight", &[6, 6]),
                ("bert.encoder.layer.0.attention.self.key.bias", &[6]),
                ("bert.encoder.layer.0.attention.self.value.weight", &[6, 6]),
                ("bert.encoder.layer.0.attention.self.value.bias", &[6]),
                ("bert.encoder.layer.0.attention.output.dense.weight", &[6, 6]),
                ("bert.encoder.layer.0.attention.output.dense.bias", &[6]),
                ("bert.encoder.layer.0.attention.output.LayerNorm.weight", &[6]),
                ("bert.encoder.layer.0.attention.output.LayerNorm.bias", &[6]),
                ("bert.encoder.layer.0.intermediate.dense.weight", &[9, 6]),
                ("bert.encoder.layer.0.intermediate.dense.bias", &[9]),
                ("bert.encoder.layer.0.output.dense.weight", &[6, 9]),
                ("bert.encoder.layer.0.output.dense.bias", &[6]),
                ("bert.encoder.layer.0.output.LayerNorm.weight", &[6]),
                ("bert.encoder.layer.0.output.LayerNorm.bias", &[6]),
                ("bert.pooler.dense.weight", &[6, 6]),
                ("bert.pooler.dense.bias", &[6]),
                ("cls.predictions.transform.dense.weight", &[6, 6]),
                ("cls.predictions.transform.dense.bias", &[6]),
                ("cls.predictions.transform.LayerNorm.weight", &[6]),
                ("cls.predictions.transform.LayerNorm.bias", &[6]),
                ("cls.predictions.bias", &[11]),
                ("cls.seq_relationship.weight", &[2, 6]),
                ("cls.seq_relationship.bias", &[2]),
            ],
        );
    }

    #[test]
    fn names_and_layouts_are_those_of_tensorflow() {
        check(
            names(Bert::tensorflow_name),
            &[
                ("bert/embeddings/word_embeddings", &[11, 6]),
                ("bert/embeddings/token_type_embeddings", &[2, 6]),
                ("bert/embeddings/position_embeddings", &[10, 6]),
                ("bert/embeddings/LayerNorm/gamma", &[6]),
                ("bert/embeddings/LayerNorm/beta", &[6]),
                ("bert/encoder/layer_0/attention/self/query/kernel", &[6, 6]),
                ("bert/encoder/layer_0/attention/self/query/bias", &[6]),
                ("bert/encoder/layer_0/attention/self/key/kernel", &[6, 6]),
                ("bert/encoder/layer_0/attention/self/key/bias", &[6]),
                ("bert/encoder/layer_0/attention/self/value/kernel", &[6, 6]),
                ("bert/encoder/layer_0/attention/self/value/bias", &[6]),
                ("bert/encoder/layer_0/attention/output/dense/kernel", &[6, 6]),
                ("bert/encoder/layer_0/attention/output/dense/bias", &[6]),
                ("bert/encoder/layer_0/attention/output/LayerNorm/gamma", &[6]),
                ("bert/encoder/layer_0/attention/output/LayerNorm/beta", &[6]),
                ("bert/encoder/layer_0/intermediate/dense/kernel", &[6, 9]),
                ("bert/encoder/layer_0/intermediate/dense/bias", &[9]),
                ("bert/encoder/layer_0/output/dense/kernel", &[9, 6]),
                ("bert/encoder/layer_0/output/dense/bias", &[6]),
                ("bert/encoder/layer_0/output/LayerNorm/gamma", &[6]),
                ("bert/encoder/layer_0/output/LayerNorm/beta", &[6]),
                ("bert/pooler/dense/kernel", &[6, 6]),
                ("bert/pooler/dense/bias", &[6]),
                ("cls/predictions/transform/dense/kernel", &[6, 6]),
                ("cls/predictions/transform/dense/bias", &[6]),
                ("cls/predictions/transform/LayerNorm/gamma", &[6]),
                ("cls/predictions/transform/LayerNorm/beta", &[6]),
                ("cls/predictions/output_bias", &[11]),
                ("cls/seq_relationship/output_weights", &[2, 6]),
                ("cls/seq_relationship/output_bias", &[2]),
            ],
        );
    }

    #[test]
    fn square_matrices_are_turned_where_torch_has_them_turned() {
        let path = "bert.blocks.0.attention.query.weight";
        assert!(Bert::stored_name(path).transposed);
        assert!(!Bert::tensorflow_name(path).transposed);
        assert!(Bert::stored_name("bert.pooler.weight").transposed);
        assert!(!Bert::stored_name("bert.segments.weight").transposed);
    }

    #[test]
    fn heads_of_tasks_have_the_names_of_their_scripts() {
        let model: BertForQuestionAnswering =
            BertConfig::default().init_for(Stream::new(1), &test_device());
        let path = parameters(&model).pop().expect("the bias of the head").path;
        assert_eq!(path, "head.answers.bias");
        assert_eq!(Bert::stored_name(&path), Stored::same("qa_outputs.bias"));
        assert_eq!(Bert::tensorflow_name(&path), Stored::same("cls/squad/output_bias"));
        let path = "head.classifier.weight";
        assert_eq!(Bert::stored_name(path), Stored::transposed("classifier.weight"));
        assert_eq!(Bert::tensorflow_name(path), Stored::transposed("output_weights"));
    }
}
