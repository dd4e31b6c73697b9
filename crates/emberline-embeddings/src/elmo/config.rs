//! The sizes of an ELMo, its published presets, and how its weights are drawn.

use std::fmt::Display;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::Stream;
use emberline_core::parameters::lazy;
use emberline_recurrent::tensorflow::FORGET_BIAS;
use emberline_recurrent::{Activation, LstmCell};
use serde::{Deserialize, Serialize};

/// The sizes of an ELMo, as its config.json holds them.
///
/// [`read_options`](super::read_options) makes one of a published `options.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElmoConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// How words are read.
    pub characters: CharacterCnnConfig,
    /// The width of every LSTM layer's cell.
    pub d_hidden: usize,
    /// The width of the words and of every layer's output, in each direction.
    pub d_output: usize,
    /// The number of LSTM layers in each direction.
    pub n_layers: usize,
    /// Whether a layer's input is added to its output, from the second on.
    pub has_skip_connections: bool,
    /// Cells are kept within ± this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_clip: Option<f64>,
    /// Outputs are kept within ± this number, after the projection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_clip: Option<f64>,
    /// The probability with which inputs of layers, and outputs of the last, are dropped in training.
    pub dropout: f64,
}

/// The sizes of the network that reads a word's characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharacterCnnConfig {
    /// The number of character ids.
    pub n_characters: usize,
    /// The width of a character's vector.
    pub d_character: usize,
    /// The filters, by width.
    pub filters: Vec<Filter>,
    /// The number of highway layers on top of them.
    pub n_highway: usize,
    /// What the largest response of a filter goes through.
    pub activation: Activation,
}

/// Filters of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The number of characters that a filter sees.
    pub width: usize,
    /// The number of filters.
    pub count: usize,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `elmo`.
    #[default]
    Elmo,
}

/// A field of a config whose value cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} must be {expected}, but is {found}")]
pub struct InvalidElmoConfig {
    /// The field.
    pub field: &'static str,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl ElmoConfig {
    /// The model of the paper, 93.6 million parameters.
    pub fn original() -> Self {
        Self::published(4096, 512, [32, 32, 64, 128, 256, 512, 1024].to_vec(), 2)
    }

    /// Half as wide, with one highway layer, 28.0 million.
    pub fn medium() -> Self {
        Self::published(2048, 256, [32, 32, 64, 128, 256, 512, 1024].to_vec(), 1)
    }

    /// A quarter as wide, with one highway layer, 13.6 million.
    pub fn small() -> Self {
        Self::published(1024, 128, [32, 32, 64, 128, 256, 512, 1024].to_vec(), 1)
    }

    /// As all published models are but for their sizes: `counts` filters of the widths 1, 2, …
    fn published(d_hidden: usize, d_output: usize, counts: Vec<usize>, n_highway: usize) -> Self {
        let filter = |(width, count)| Filter { width, count };
        Self {
            model_type: ModelType::Elmo,
            characters: CharacterCnnConfig {
                n_characters: 261,
                d_character: 16,
                filters: (1..).zip(counts).map(filter).collect(),
                n_highway,
                activation: Activation::Relu,
            },
            d_hidden,
            d_output,
            n_layers: 2,
            has_skip_connections: true,
            cell_clip: Some(3.0),
            projection_clip: Some(3.0),
            dropout: 0.1,
        }
    }

    /// Whether the values can be those of a model; the error names the first that cannot.
    pub fn validate(&self) -> Result<(), InvalidElmoConfig> {
        let CharacterCnnConfig { n_characters, d_character, ref filters, .. } = self.characters;
        for (field, size) in [
            ("characters.n_characters", n_characters),
            ("characters.d_character", d_character),
            ("characters.filters", filters.len()),
            ("d_hidden", self.d_hidden),
            ("d_output", self.d_output),
            ("n_layers", self.n_layers),
        ] {
            require(size > 0, field, "at least 1", size)?;
        }
        for Filter { width, count } in filters {
            require(*width > 0, "characters.filters: a width", "at least 1", width)?;
            require(*count > 0, "characters.filters: a count", "at least 1", count)?;
        }
        let d_hidden = self.d_hidden;
        let no_more = format!("at most the {d_hidden} of `d_hidden`");
        require(self.d_output <= d_hidden, "d_output", no_more, self.d_output)?;
        for (field, clip) in
            [("cell_clip", self.cell_clip), ("projection_clip", self.projection_clip)]
        {
            let clip = clip.unwrap_or(1.0);
            require(clip.is_finite() && clip > 0.0, field, "a number above 0", clip)?;
        }
        let holds = (0.0..1.0).contains(&self.dropout);
        require(holds, "dropout", "at least 0 and below 1", self.dropout)
    }

    /// The parameters of the model, which is not made for it, as they are counted where it was published. A cell here
    /// has a second bias, of zeros that are not trained; they are left out.
    pub fn parameter_count(&self) -> u64 {
        let [d_hidden, d_output, d_character] =
            [self.d_hidden, self.d_output, self.characters.d_character].map(|size| size as u64);
        let affine = |d_input: u64, d_output: u64| (d_input + 1).saturating_mul(d_output);
        let filter =
            |filter: &Filter| affine(filter.width as u64 * d_character, filter.count as u64);
        let filters: u64 = self.characters.filters.iter().map(filter).sum();
        let n_filters = self.characters.n_filters() as u64;
        let highways = (2 * self.characters.n_highway as u64) * affine(n_filters, n_filters);
        let projection = if d_output < d_hidden { d_hidden * d_output } else { 0 };
        let layer = affine(2 * d_output, 4 * d_hidden) + projection;
        self.characters.n_characters as u64 * d_character
            + filters
            + highways
            + affine(n_filters, d_output)
            + 2 * self.n_layers as u64 * layer
    }

    /// One layer as TensorFlow draws it (Glorot and Bengio, 2010): the whole kernel uniform in `±√(6 / (rows +
    /// columns))`, biases of zeros and 1 for the forget gate.
    pub(super) fn init_cell(&self, random: Stream, device: &Device) -> LstmCell {
        let Self { d_hidden, d_output, .. } = *self;
        let columns = 4 * d_hidden;
        let matrix = |name: &str, shape: [usize; 2], fans: usize| {
            let bound = (6.0 / fans as f64).sqrt();
            let random = random.named(name);
            lazy(shape, device, move || random.uniforms(shape[0] * shape[1], -bound, bound))
        };
        let fans = 2 * d_output + columns;
        let gates = [0.0, FORGET_BIAS, 0.0, 0.0].map(|bias| vec![bias as f32; d_hidden]).concat();
        let projection = || matrix("projection", [d_hidden, d_output], d_hidden + d_output);
        LstmCell {
            weight_input: matrix("weight_input", [d_output, columns], fans),
            weight_hidden: matrix("weight_hidden", [d_output, columns], fans),
            bias_input: Param::from_data(TensorData::new(gates, [columns]), device),
            bias_hidden: no_bias(columns, device),
            projection: (d_output < d_hidden).then(projection),
            cell_clip: self.cell_clip,
            projection_clip: self.projection_clip,
        }
    }
}

/// The second bias of a cell. TensorFlow has one, and two would move twice as far.
pub(super) fn no_bias(columns: usize, device: &Device) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::zeros([columns], device)).set_require_grad(false)
}

impl CharacterCnnConfig {
    /// The number of filters of all widths.
    pub fn n_filters(&self) -> usize {
        self.filters.iter().map(|filter| filter.count).sum()
    }
}

/// An error that names the field unless `holds`.
pub(super) fn require(
    holds: bool,
    field: &'static str,
    expected: impl Display,
    found: impl Display,
) -> Result<(), InvalidElmoConfig> {
    if holds {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(InvalidElmoConfig { field, expected, found })
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;

    #[test]
    fn published_sizes_have_their_parameters() {
        assert_eq!(ElmoConfig::original().parameter_count(), 93_600_848);
        assert_eq!(ElmoConfig::medium().parameter_count(), 28_027_728);
        assert_eq!(ElmoConfig::small().parameter_count(), 13_593_296);
    }

    #[test]
    fn a_model_has_the_parameters_that_are_counted_and_a_bias_of_zeros_a_cell() {
        for config in [ElmoConfig::small(), ElmoConfig { d_hidden: 128, ..ElmoConfig::small() }] {
            let model = config.init(Stream::new(0), &test_device());
            let zeros = 4 * 4 * config.d_hidden as u64;
            assert_eq!(parameter_count(&model) as u64, config.parameter_count() + zeros);
        }
    }

    #[test]
    fn a_config_survives_being_written_and_read() {
        let config = ElmoConfig { cell_clip: None, ..ElmoConfig::medium() };
        let written = serde_json::to_string(&config).unwrap();
        assert!(written.contains(r#""model_type":"elmo""#), "{written}");
        assert_eq!(serde_json::from_str::<ElmoConfig>(&written).unwrap(), config);
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_its_field() {
        let message = |change: fn(&mut ElmoConfig)| {
            let mut config = ElmoConfig::small();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(ElmoConfig::small().validate(), Ok(()));
        assert_eq!(message(|c| c.n_layers = 0), "n_layers must be at least 1, but is 0");
        assert_eq!(
            message(|c| c.d_output = 2000),
            "d_output must be at most the 1024 of `d_hidden`, but is 2000"
        );
        assert!(message(|c| c.characters.filters[1].width = 0).starts_with("characters.filters"));
        assert!(message(|c| c.cell_clip = Some(f64::NAN)).starts_with("cell_clip"));
    }
}
