//! A published `options.json`.

use std::path::Path;

use emberline_recurrent::Activation;
use serde::Deserialize;

use super::config::{
    CharacterCnnConfig, ElmoConfig, Filter, InvalidElmoConfig, ModelType, require,
};
use super::published::ElmoError;

/// The characters of a word in all published models.
const WORD_LENGTH: usize = 50;

#[derive(Deserialize)]
struct Options {
    lstm: LstmSizes,
    char_cnn: CharacterSizes,
    #[serde(default)]
    dropout: f64,
}

#[derive(Deserialize)]
struct LstmSizes {
    dim: usize,
    projection_dim: usize,
    #[serde(default = "one")]
    n_layers: usize,
    #[serde(default)]
    use_skip_connections: bool,
    cell_clip: Option<f64>,
    proj_clip: Option<f64>,
}

#[derive(Deserialize)]
struct CharacterSizes {
    embedding: EmbeddingSize,
    filters: Vec<(usize, usize)>,
    #[serde(default)]
    n_highway: usize,
    n_characters: usize,
    max_characters_per_token: usize,
    activation: Activation,
}

#[derive(Deserialize)]
struct EmbeddingSize {
    dim: usize,
}

fn one() -> usize {
    1
}

/// Reads a published `options.json`.
///
/// # Errors
/// [`Read`](ElmoError::Read), [`NotOptions`](ElmoError::NotOptions), [`Invalid`](ElmoError::Invalid).
pub fn read_options(path: impl AsRef<Path>) -> Result<ElmoConfig, ElmoError> {
    let path = path.as_ref();
    let text = std::fs::read(path)
        .map_err(|source| ElmoError::Read { path: path.to_path_buf(), source })?;
    let options: Options = serde_json::from_slice(&text)
        .map_err(|source| ElmoError::NotOptions { path: path.to_path_buf(), source })?;
    options.config().map_err(|source| ElmoError::Invalid { path: path.to_path_buf(), source })
}

impl Options {
    fn config(self) -> Result<ElmoConfig, InvalidElmoConfig> {
        let Self { lstm, char_cnn, dropout } = self;
        // A word that is not there has a character of its own once training is over, which is no row of the file.
        let n_characters = char_cnn.n_characters;
        let holds = [261, 262].contains(&n_characters);
        require(holds, "char_cnn.n_characters", "261 or 262", n_characters)?;
        let length = char_cnn.max_characters_per_token;
        let field = "char_cnn.max_characters_per_token";
        require(length == WORD_LENGTH, field, WORD_LENGTH, length)?;
        let filter = |(width, count)| Filter { width, count };
        let config = ElmoConfig {
            model_type: ModelType::Elmo,
            characters: CharacterCnnConfig {
                n_characters: 261,
                d_character: char_cnn.embedding.dim,
                filters: char_cnn.filters.into_iter().map(filter).collect(),
                n_highway: char_cnn.n_highway,
                activation: char_cnn.activation,
            },
            d_hidden: lstm.dim,
            d_output: lstm.projection_dim,
            n_layers: lstm.n_layers,
            has_skip_connections: lstm.use_skip_connections,
            cell_clip: lstm.cell_clip,
            projection_clip: lstm.proj_clip,
            dropout,
        };
        config.validate()?;
        for filter in &config.characters.filters {
            let no_wider = format!("at most the {WORD_LENGTH} characters of a word");
            let field = "char_cnn.filters: a width";
            require(filter.width <= WORD_LENGTH, field, no_wider, filter.width)?;
        }
        Ok(config)
    }
}
