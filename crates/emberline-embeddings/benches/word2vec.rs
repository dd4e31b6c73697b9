//! An epoch of word2vec over the text that the variable `WORD2VEC_CORPUS` names, against its twin in gensim,
//! `word2vec_gensim.py` beside this file. Prints one JSON object a line; words are those of the text, known or not.

use std::ops::ControlFlow;
use std::time::Instant;

use emberline_embeddings::EmbeddingsError;
use emberline_embeddings::word2vec::{
    Corpus, Progress, Vocabulary, Word2Vec, Word2VecConfig, train,
};

fn main() {
    let Some(path) = std::env::var_os("WORD2VEC_CORPUS") else {
        println!("skipped: WORD2VEC_CORPUS names no text");
        return;
    };
    let corpus = Corpus::open(&path).expect("a text");
    let all_words = Vocabulary::count(&corpus, 1).expect("words").total();
    for (name, config) in
        [("skip-gram", Word2VecConfig::skip_gram()), ("cbow", Word2VecConfig::cbow())]
    {
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let seconds = pool.expect("threads").install(|| epoch(&corpus, &config));
            println!(
                "{{\"name\": \"{name}, {threads} threads\", \"seconds\": {seconds:.2}, \"words/s\": {:.0}}}",
                all_words as f64 / seconds
            );
        }
    }
}

fn epoch(corpus: &Corpus, config: &Word2VecConfig) -> f64 {
    let config = Word2VecConfig { epochs: 1, ..config.clone() };
    let vocabulary = Vocabulary::count(corpus, config.min_count).expect("frequent words");
    let mut progress = Progress::start(vocabulary.total());
    let mut model = Word2Vec::init(config, vocabulary);
    let started = Instant::now();
    let go_on = |_: &Word2Vec, _: &Progress| Ok::<_, EmbeddingsError>(ControlFlow::Continue(()));
    train(&mut model, corpus, &mut progress, go_on).expect("a text that can be read");
    started.elapsed().as_secs_f64()
}
