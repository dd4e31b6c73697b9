//! ELMo (Peters, Neumann, Iyyer, Gardner, Clark, Lee, Zettlemoyer: "Deep contextualized word representations", NAACL
//! 2018): the vectors of a word are what two language models think when they stand at it.
//!
//! Against word2vec there is no table: a word is read from its characters, so that none is unknown, and what follows
//! reads it in its sentence. Against a bidirectional network on a task, the two directions do not know of each other and
//! are trained on plain text, to predict the next word and the one before; what a task then learns is how much of each
//! layer it wants ([`ScalarMix`]).
//!
//! ```text
//! x_t   = the word from its characters                                        (CharacterCnn)
//! →h¹_t = LSTM(x_t, →h¹_{t-1})                    ←h¹_t = LSTM(x_t, ←h¹_{t+1})
//! →h²_t = LSTM(→h¹_t, →h²_{t-1}) + →h¹_t          ←h²_t likewise
//! layers: [x; x], [→h¹; ←h¹], [→h²; ←h²]
//! ```
//!
//! The LSTM layers are projected, and cell and projection clipped.

mod character_cnn;
mod config;
mod language_model;
mod options;
mod published;
mod scalar_mix;
mod weights;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, module};
use emberline_backend::Dropout;
use emberline_core::{
    BothWays, CharacterBatch, CharacterEncoder, LayerGroup, LayerGroups, Stream, WordTable,
};
use emberline_recurrent::{
    BidirectionalState, Direction, LstmCell, LstmState, Reading, RecurrentCell, StackState,
};

pub use self::character_cnn::{CharacterCnn, Highway};
pub use self::config::{CharacterCnnConfig, ElmoConfig, Filter, InvalidElmoConfig, ModelType};
pub use self::language_model::{ElmoLanguageModel, ElmoLanguageModelConfig};
pub use self::options::read_options;
pub use self::published::{ElmoError, load_published};
pub use self::scalar_mix::{ScalarMix, without_marks};

/// The words, and the layers of two directions on top of them.
#[derive(Module, Debug)]
pub struct Elmo {
    /// A word from its characters.
    pub words: CharacterCnn,
    /// The layers that read forward, the one nearest to the words first.
    pub forward: Vec<LstmCell>,
    /// Those that read backward.
    pub reverse: Vec<LstmCell>,
    /// Applied in training to the input of every layer, and to the output of the last of a language model.
    pub dropout: Dropout,
    /// Whether a layer's input is added to its output, from the second on.
    #[module(skip)]
    pub has_skip_connections: bool,
}

/// What both directions of each layer keep of the texts before.
pub type ElmoState = StackState<BidirectionalState<LstmState>>;

/// The names of the directions, by which weights and dropout are drawn.
const FORWARD: &str = "forward";
const REVERSE: &str = "reverse";

/// What the layers of one direction made of their rows: the outputs and the final states of each.
type Read = (Vec<Tensor<3>>, Vec<LstmState>);

impl ElmoConfig {
    /// Weights as the published code draws them: the words by [`CharacterCnnConfig::init`], the kernels of the layers
    /// uniform in `±√(6 / (rows + columns))`, biases of zeros and 1 for the forget gates.
    pub fn init(&self, random: Stream, device: &Device) -> Elmo {
        let layers = |direction: &str| {
            let random = random.named(direction);
            let cell = |layer: usize| self.init_cell(random.at(layer as u64), device);
            (0..self.n_layers).map(cell).collect()
        };
        Elmo {
            words: self.characters.init(self.d_output, random.named("words"), device),
            forward: layers(FORWARD),
            reverse: layers(REVERSE),
            dropout: Dropout::new(self.dropout),
            has_skip_connections: self.has_skip_connections,
        }
    }
}

impl CharacterEncoder for Elmo {
    fn layers(&self, batch: &CharacterBatch) -> Vec<Tensor<3>> {
        self.layers_from(batch, None).0
    }

    fn d_model(&self) -> usize {
        2 * self.words.d_output()
    }

    fn n_characters(&self) -> usize {
        self.words.n_characters()
    }
}

impl LayerGroups for Elmo {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let layer = |index: usize| {
            let modules = [FORWARD, REVERSE].map(|direction| format!("{direction}.{index}"));
            LayerGroup::body(format!("layers.{index}"), &modules.each_ref().map(String::as_str))
        };
        let mut groups = vec![LayerGroup::body("words", &["words"])];
        groups.extend((0..self.forward.len()).map(layer));
        // What all layers share is of the topmost, which is trained before any other.
        let last = groups.last_mut().expect("the words are a group");
        last.modules.push("dropout".to_string());
        groups
    }
}

impl Elmo {
    /// The layers for texts that go on from those that left `state`: each row of the forward direction from the last
    /// word of the row before, and of the other from its first. The published vectors are made so, from batch to batch;
    /// `None` reads each text for itself.
    ///
    /// # Shapes
    /// - output: as [`layers`](CharacterEncoder::layers)
    ///
    /// # Panics
    /// If the state is of another batch size or number of layers, or as [`RecurrentCell::sequence`].
    pub fn layers_from(
        &self,
        batch: &CharacterBatch,
        state: Option<ElmoState>,
    ) -> (Vec<Tensor<3>>, ElmoState) {
        let words = self.words_of(&batch.table, batch.words.clone());
        let [batch_size, ..] = words.dims();
        let [forward, reverse] = self.states(state, batch_size);
        let lengths = batch.lengths.as_deref();
        let read = |cells: &[LstmCell], states, direction, name| {
            let random = batch.dropout.map(|random| random.named(name));
            self.read(cells, words.clone(), states, Reading { lengths, direction }, random)
        };
        let (forward, forward_states) = read(&self.forward, forward, Direction::Forward, FORWARD);
        let (reverse, reverse_states) = read(&self.reverse, reverse, Direction::Reverse, REVERSE);
        let both = |(forward, reverse)| Tensor::cat(vec![forward, reverse], 2);
        let above = forward.into_iter().zip(reverse).map(both);
        let layers = std::iter::once(both((words.clone(), words.clone()))).chain(above).collect();
        (layers, joined(forward_states, reverse_states))
    }

    /// The last layer of each direction, for texts that each reads from its first place to the last.
    fn read_both(&self, batch: &BothWays, state: Option<ElmoState>) -> ([Tensor<3>; 2], ElmoState) {
        let [batch_size, _] = batch.forward.dims();
        let [forward, reverse] = self.states(state, batch_size);
        let vectors = self.words.forward(&batch.table);
        let read = |cells: &[LstmCell], words: &Tensor<2, Int>, states, name| {
            let words = module::embedding(vectors.clone(), words.clone());
            let random = batch.dropout.map(|random| random.named(name));
            let (outputs, states) = self.read(cells, words, states, Reading::default(), random);
            let last = outputs.into_iter().last().expect("at least one layer");
            let random = random.map(|random| random.at(cells.len() as u64));
            (self.dropout.forward(last, random), states)
        };
        let (forward, forward_states) = read(&self.forward, &batch.forward, forward, FORWARD);
        let (reverse, reverse_states) = read(&self.reverse, &batch.reverse, reverse, REVERSE);
        ([forward, reverse], joined(forward_states, reverse_states))
    }

    /// The vectors of the words alone, `[batch_size, seq_length, d_output]`.
    fn words_of(&self, table: &WordTable, words: Tensor<2, Int>) -> Tensor<3> {
        module::embedding(self.words.forward(table), words)
    }

    fn read(
        &self,
        cells: &[LstmCell],
        words: Tensor<3>,
        states: Vec<LstmState>,
        reading: Reading<'_>,
        random: Option<Stream>,
    ) -> Read {
        let (mut outputs, mut finals) = (Vec::new(), Vec::new());
        let mut hidden = words;
        for (index, (cell, state)) in cells.iter().zip(states).enumerate() {
            let input = self.dropout.forward(hidden, random.map(|random| random.at(index as u64)));
            let (output, state) = RecurrentCell::sequence(cell, input.clone(), state, reading);
            hidden = if index > 0 && self.has_skip_connections { output + input } else { output };
            outputs.push(hidden.clone());
            finals.push(state);
        }
        (outputs, finals)
    }

    /// The states of the forward layers, and those of the others.
    fn states(&self, state: Option<ElmoState>, batch_size: usize) -> [Vec<LstmState>; 2] {
        let Some(StackState(states)) = state else {
            return [&self.forward, &self.reverse].map(|cells| {
                cells.iter().map(|cell| RecurrentCell::zero_state(cell, batch_size)).collect()
            });
        };
        assert_eq!(states.len(), self.forward.len(), "a state for each layer of an ELMo");
        let (forward, reverse) =
            states.into_iter().map(|state| (state.forward, state.reverse)).unzip();
        [forward, reverse]
    }
}

fn joined(forward: Vec<LstmState>, reverse: Vec<LstmState>) -> ElmoState {
    let both = |(forward, reverse)| BidirectionalState { forward, reverse };
    StackState(forward.into_iter().zip(reverse).map(both).collect())
}
