//! word2vec as it is trained: the same at any number of threads, after any interruption, and right.

use std::fmt::Write;
use std::ops::ControlFlow;

use emberline_core::Stream;
use emberline_embeddings::word2vec::{
    Architecture, Context, Corpus, Progress, Vocabulary, Word2Vec, Word2VecConfig, train,
};
use emberline_embeddings::{EmbeddingsError, WordVectors};

/// Sentences of one of two topics with twenty words each, and words of no topic between.
fn topics() -> (tempfile::TempDir, Corpus) {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..2 {
        let mut text = String::new();
        for sentence in 0..200 {
            let random = Stream::new(1).at(file).at(sentence);
            let topic = ["a", "b"][random.below(0, 2)];
            for place in 1..12 {
                let word = random.below(2 * place, 20);
                let prefix = if random.below(2 * place + 1, 4) == 0 { "of" } else { topic };
                write!(text, "{prefix}{word} ").unwrap();
            }
            text.push('\n');
        }
        std::fs::write(folder.path().join(format!("{file}.txt")), text).unwrap();
    }
    let corpus = Corpus::open(folder.path()).unwrap();
    (folder, corpus)
}

fn small(config: Word2VecConfig) -> Word2VecConfig {
    Word2VecConfig {
        d_embedding: 18,
        epochs: 3,
        block_words: 150,
        learning_rate: 0.05,
        subsampling: 0.02,
        ..config
    }
}

fn every_kind() -> Vec<Word2VecConfig> {
    let (skip_gram, cbow) = (small(Word2VecConfig::skip_gram()), small(Word2VecConfig::cbow()));
    let tree = |config: &Word2VecConfig| Word2VecConfig {
        negative: 0,
        hierarchical_softmax: true,
        ..config.clone()
    };
    let both = Word2VecConfig { hierarchical_softmax: true, ..skip_gram.clone() };
    let sum = Word2VecConfig { context: Context::Sum, ..cbow.clone() };
    vec![tree(&skip_gram), tree(&cbow), skip_gram, cbow, both, sum]
}

fn model(corpus: &Corpus, config: &Word2VecConfig) -> (Word2Vec, Progress) {
    let vocabulary = Vocabulary::count(corpus, config.min_count).unwrap();
    let progress = Progress::start(vocabulary.total());
    (Word2Vec::init(config.clone(), vocabulary), progress)
}

fn go_on(_: &Word2Vec, _: &Progress) -> Result<ControlFlow<()>, EmbeddingsError> {
    Ok(ControlFlow::Continue(()))
}

fn bits(vectors: &WordVectors) -> Vec<u32> {
    (0..vectors.len()).flat_map(|place| vectors.vector(place)).map(|x| x.to_bits()).collect()
}

#[test]
fn every_number_of_threads_gives_the_same_vectors_and_loss() {
    let (_folder, corpus) = topics();
    for config in every_kind() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut model, mut progress) = model(&corpus, &config);
                train(&mut model, &corpus, &mut progress, go_on).unwrap();
                (bits(&model.into_vectors()), progress.last_loss)
            })
        };
        let one = run(1);
        for threads in [2, 5] {
            assert!(run(threads) == one, "{threads} threads, {config:?}");
        }
    }
}

#[test]
fn a_training_that_stopped_goes_on_to_the_same_bits() {
    let (folder, corpus) = topics();
    for (kind, config) in every_kind().into_iter().enumerate() {
        let (mut whole, mut progress) = model(&corpus, &config);
        train(&mut whole, &corpus, &mut progress, go_on).unwrap();
        let expected = (bits(&whole.into_vectors()), progress);

        let (mut stopped, mut progress) = model(&corpus, &config);
        for stop in [3, 40, 41] {
            let mut blocks = 0;
            let count = |_: &Word2Vec, _: &Progress| {
                blocks += 1;
                Ok::<_, EmbeddingsError>(match blocks == stop {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            };
            train(&mut stopped, &corpus, &mut progress, count).unwrap();
            let directory = folder.path().join(format!("kept/{kind}-{stop}"));
            stopped.save(&directory, &progress).unwrap();
            (stopped, progress) = Word2Vec::load(&directory).unwrap();
        }
        train(&mut stopped, &corpus, &mut progress, go_on).unwrap();
        assert!((bits(&stopped.into_vectors()), progress) == expected, "{config:?}");
    }
}

#[test]
fn every_kind_tells_the_topics_apart() {
    let (_folder, corpus) = topics();
    for config in every_kind() {
        let config = Word2VecConfig { epochs: 10, ..config };
        let (mut model, mut progress) = model(&corpus, &config);
        let mut losses = Vec::new();
        let remember = |_: &Word2Vec, progress: &Progress| {
            if progress.words == 0 {
                losses.extend(progress.last_loss.mean());
            }
            Ok::<_, EmbeddingsError>(ControlFlow::Continue(()))
        };
        train(&mut model, &corpus, &mut progress, remember).unwrap();
        assert!(losses.len() == 10 && losses[9] < losses[0], "{losses:?}");
        let vectors = model.into_vectors();
        let mean = |one: &str, other: &str| {
            let pairs = (0..20).flat_map(|i| (0..20).map(move |j| (i, j))).filter(|(i, j)| i != j);
            let cosines = pairs.map(|(i, j)| {
                let [one, other] = [format!("{one}{i}"), format!("{other}{j}")]
                    .map(|word| vectors.place(word).unwrap());
                f64::from(vectors.similarity(one, other))
            });
            cosines.sum::<f64>() / 380.0
        };
        let (same, other) = (mean("a", "a").min(mean("b", "b")), mean("a", "b"));
        assert!(same > other + 0.3, "{same} within and {other} between, {config:?}");
    }
}

#[test]
fn an_untrained_model_knows_nothing_and_says_so() {
    // Outputs of zeros, which hardly learn: every score is 0, and every decision costs ln 2.
    let (_folder, corpus) = topics();
    let config = Word2VecConfig {
        negative: 0,
        hierarchical_softmax: true,
        learning_rate: 1e-9,
        epochs: 1,
        architecture: Architecture::Cbow,
        subsampling: 0.0,
        ..small(Word2VecConfig::cbow())
    };
    let (mut model, mut progress) = model(&corpus, &config);
    train(&mut model, &corpus, &mut progress, go_on).unwrap();
    let vocabulary = Vocabulary::count(&corpus, config.min_count).unwrap();
    // The mean length of Huffman's codes lies within one of the entropy.
    let total = vocabulary.total() as f64;
    let shares = vocabulary.counts.iter().map(|count| *count as f64 / total);
    let entropy: f64 = shares.map(|share| -share * share.log2()).sum();
    let decisions = progress.last_loss.mean().unwrap() / 2f64.ln();
    assert!(decisions >= entropy && decisions < entropy + 1.0, "{decisions} for {entropy}");
    assert_eq!(progress.last_loss.n_predictions, vocabulary.total());
}

#[test]
fn training_goes_on_with_another_corpus() {
    let (folder, corpus) = topics();
    let config = small(Word2VecConfig::skip_gram());
    let (mut model, mut progress) = model(&corpus, &config);
    train(&mut model, &corpus, &mut progress, go_on).unwrap();
    let other = folder.path().join("other.txt");
    std::fs::write(&other, "a1 new a2 b1\n".repeat(50)).unwrap();
    let other = Corpus::open(other).unwrap();
    let similarity = |model: &Word2Vec| {
        let vectors = model.vectors();
        let [a, b] = ["a1", "b1"].map(|word| vectors.place(word).unwrap());
        vectors.similarity(a, b)
    };
    let before = similarity(&model);
    let mut progress = model.start_on(&other).unwrap();
    assert_eq!(progress.corpus_words, 150);
    train(&mut model, &other, &mut progress, go_on).unwrap();
    assert!(similarity(&model) > before);
}

#[test]
fn a_config_that_cannot_be_trained_with_is_refused_by_the_field() {
    let config = Word2VecConfig { negative: 0, ..Word2VecConfig::cbow() };
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(error, "negative is 0: expected 1 or more without hierarchical_softmax");
    let config = Word2VecConfig { learning_rate: f64::NAN, ..Word2VecConfig::cbow() };
    assert!(config.validate().unwrap_err().to_string().starts_with("learning_rate is NaN"));
}

#[test]
fn no_learning_rate_and_no_block_makes_vectors_grow_without_end() {
    let (_folder, corpus) = topics();
    for config in every_kind() {
        let config = Word2VecConfig { learning_rate: 0.5, block_words: 4000, ..config };
        let (mut model, mut progress) = model(&corpus, &config);
        train(&mut model, &corpus, &mut progress, go_on).unwrap();
        let loss = progress.last_loss.mean().unwrap();
        assert!(loss < 20.0, "{loss}, {config:?}");
    }
}

#[test]
fn a_damaged_checkpoint_is_an_error() {
    let (folder, corpus) = topics();
    let (model, progress) = model(&corpus, &small(Word2VecConfig::cbow()));
    let directory = folder.path().join("model");
    model.save(&directory, &progress).unwrap();
    std::fs::write(directory.join("model.safetensors"), "x").unwrap();
    let error = Word2Vec::load(&directory).unwrap_err();
    assert!(matches!(error, EmbeddingsError::Checkpoint(_)), "{error:?}");
    assert!(error.to_string().contains("model.safetensors is damaged"), "{error}");
}
