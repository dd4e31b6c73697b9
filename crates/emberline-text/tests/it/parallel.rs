use std::collections::BTreeSet;
use std::path::Path;

use emberline_core::Stream;
use emberline_text::{
    BadLines, BatchSize, Column, FirstLine, PairColumns, ParallelCorpus, SplitFractions, TokenPair,
    TranslationTokenizer, TranslationTokens,
};

use crate::datasets;

fn read(path: &str, source: Column, target: Column, first_line: FirstLine) -> ParallelCorpus {
    let columns = PairColumns { source, target, first_line };
    ParallelCorpus::from_columns(datasets().join(path), &columns, BadLines::Refuse).unwrap()
}

fn words_and_sounds(part: &str) -> ParallelCorpus {
    let path = format!("cmudict/{part}.tsv");
    read(&path, Column::Number(1), Column::Number(2), FirstLine::Example)
}

fn english_and_spanish() -> ParallelCorpus {
    let [source, target] = ["en_web", "es_rv1909"].map(|name| Column::Name(name.into()));
    read("bible-parallel/verses.tsv", source, target, FirstLine::Header)
}

#[test]
fn the_spellings_and_sounds_are_what_their_readme_counts_and_are_given_back() {
    let training = words_and_sounds("train");
    let letters =
        TranslationTokenizer::learn(&TranslationTokens::Characters, training.sources()).unwrap();
    let phonemes =
        TranslationTokenizer::learn(&TranslationTokens::Symbols, training.targets()).unwrap();
    assert_eq!((letters.vocab_size(), phonemes.vocab_size()), (3 + 26, 3 + 69));
    let mut seen = BTreeSet::new();
    for (part, words, n_letters, n_phonemes) in
        [("train", 10000, 72596, 62153), ("dev", 500, 3578, 3073), ("test", 500, 3585, 3062)]
    {
        let corpus = words_and_sounds(part);
        assert!(corpus.sources().all(|word| seen.insert(word.to_string())));
        let encoded = corpus.encode(&letters, &phonemes, Some(14), BadLines::Refuse).unwrap();
        assert_eq!(encoded.pairs.len(), words);
        // Each side has one more token, for its end.
        let tokens = |side: usize| -> usize {
            encoded.pairs.iter().map(|pair| pair.lengths()[side] - 1).sum()
        };
        assert_eq!((tokens(0), tokens(1)), (n_letters, n_phonemes));
        for (pair, TokenPair { source, target }) in corpus.pairs().iter().zip(&encoded.pairs) {
            assert_eq!(letters.decode(source).unwrap(), pair.source);
            assert_eq!(phonemes.decode(target).unwrap(), pair.target);
        }
    }
}

#[test]
fn the_verses_are_split_by_their_source_and_given_back_by_joint_byte_pairs() {
    let verses = english_and_spanish();
    assert_eq!(verses.pairs().len(), 5167);
    assert_eq!(
        verses.pairs()[0].source,
        "In the beginning, God created the heavens and the earth."
    );
    assert_eq!(verses.pairs()[0].target, "EN el principio crió Dios los cielos y la tierra.");
    assert_eq!(verses.sources().collect::<BTreeSet<_>>().len(), 4946);

    let fractions = SplitFractions { train: 0.9, validation: 0.05 };
    let parts = verses.split(fractions, Stream::new(1).named("split")).unwrap();
    let sources = parts.each_ref().map(|part| part.sources().collect::<BTreeSet<_>>());
    assert_eq!(sources.iter().map(BTreeSet::len).sum::<usize>(), 4946);

    let training = &parts[0];
    let tokens = TranslationTokens::BytePairs { vocab_size: 2000, lower_case: false };
    let learn = || {
        let both = training.sources().chain(training.targets()).collect::<Vec<_>>();
        TranslationTokenizer::learn(&tokens, both).unwrap()
    };
    let tokenizer = learn();
    assert_eq!(tokenizer.vocab_size(), 2000);
    assert_eq!(tokenizer.to_json(), learn().to_json());
    let encoded = parts[2].encode(&tokenizer, &tokenizer, None, BadLines::Refuse).unwrap();
    for (pair, TokenPair { source, target }) in parts[2].pairs().iter().zip(&encoded.pairs) {
        assert_eq!(tokenizer.decode(source).unwrap(), pair.source);
        assert_eq!(tokenizer.decode(target).unwrap(), pair.target);
    }
}

#[test]
fn a_tenth_of_a_batch_of_verses_is_padding_at_most() {
    let verses = english_and_spanish();
    let tokens = TranslationTokens::Words { lower_case: true, min_count: 2 };
    let english = TranslationTokenizer::learn(&tokens, verses.sources()).unwrap();
    let spanish = TranslationTokenizer::learn(&tokens, verses.targets()).unwrap();
    let pairs = verses.encode(&english, &spanish, None, BadLines::Refuse).unwrap().pairs;
    let lengths: Vec<[usize; 2]> = pairs.iter().map(TokenPair::lengths).collect();
    let batches = BatchSize::Tokens(1024).batches(&lengths, Stream::new(1)).unwrap();
    let padded: usize = batches
        .iter()
        .map(|batch| {
            let longest = |side: usize| batch.iter().map(|row| lengths[*row][side]).max().unwrap();
            (longest(0) + longest(1)) * batch.len()
        })
        .sum();
    let share = 1.0 - lengths.iter().flatten().sum::<usize>() as f64 / padded as f64;
    println!("{} batches of at most 1024 tokens, {share:.3} padding", batches.len());
    assert!(share < 0.1, "{share}");
}

#[test]
fn two_packed_files_are_read_line_by_line() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    let folder = tempfile::tempdir().unwrap();
    let pack = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let mut packer = GzEncoder::new(file, Compression::default());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap();
        path
    };
    let (english, german) = (pack("a.en.gz", "one\ntwo\n"), pack("a.de.gz", "eins\nzwei\n"));
    let corpus = ParallelCorpus::from_files(&english, &german, BadLines::Refuse).unwrap();
    assert_eq!(corpus.sources().zip(corpus.targets()).last(), Some(("two", "zwei")));
    let error = ParallelCorpus::from_files(&english, Path::new("no.de"), BadLines::Skip);
    assert_eq!(error.unwrap_err().to_string(), "cannot read no.de");
}
