//! Published tokenizers: GPT-2's files are committed, GPT-1's are beside the project where they are.

use std::fs;
use std::path::{Path, PathBuf};

use emberline_text::{Corpus, Gpt1Text, TextError, Tokenizer};
use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::{austen, datasets};

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

/// What GPT-2's tokens are for 28 texts, to a reader that knows no special token.
fn expected() -> Vec<Case> {
    let text = fs::read_to_string(datasets().join("gpt2-bpe/expected.json")).unwrap();
    serde_json::from_str::<Expected>(&text).unwrap().cases
}

fn gpt2() -> Tokenizer {
    Tokenizer::from_directory(datasets().join("gpt2-bpe")).unwrap()
}

/// A folder with GPT-1's files, under the names that OpenAI gave them.
fn gpt1_folder() -> Option<tempfile::TempDir> {
    let shared =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tests/gpt1-bpe");
    let folder = tempfile::tempdir().unwrap();
    for name in ["encoder_bpe_40000.json", "vocab_40000.bpe"] {
        let Ok(packed) = fs::File::open(shared.join(format!("{name}.gz"))) else {
            println!("skipped: {} is not there", shared.display());
            return None;
        };
        let mut file = fs::File::create(folder.path().join(name)).unwrap();
        std::io::copy(&mut GzDecoder::new(packed), &mut file).unwrap();
    }
    Some(folder)
}

fn copy_as(from: &Path, to: &Path, names: [[&str; 2]; 2]) {
    for [name, other] in names {
        fs::copy(from.join(name), to.join(other)).unwrap();
    }
}

fn is_same(one: &Tokenizer, other: &Tokenizer, text: &str) -> bool {
    one.vocab_size() == other.vocab_size()
        && one.encode(text).unwrap() == other.encode(text).unwrap()
}

#[test]
fn gpt2_gives_the_published_ids_and_the_text_back() {
    let tokenizer = gpt2().reading_specials_as_text();
    assert_eq!(tokenizer.vocab_size(), 50257);
    let cases = expected();
    assert!(cases.len() >= 28 && cases.iter().any(|case| case.text.contains("<|endoftext|>")));
    for Case { text, ids } in cases {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn end_of_text_is_a_token_unless_specials_are_read_as_text() {
    let tokenizer = gpt2();
    let text = "Hello world<|endoftext|>";
    assert_eq!(tokenizer.encode(text).unwrap(), [15496, 995, 50256]);
    assert_eq!(tokenizer.decode(&[15496, 995, 50256]).unwrap(), text);
    let as_text = tokenizer.reading_specials_as_text();
    let ids = as_text.encode(text).unwrap();
    assert_eq!((ids[0], ids[1], ids.contains(&50256)), (15496, 995, false));
}

#[test]
fn a_stream_of_gpt2_never_splits_an_emoji_or_a_chinese_character() {
    let tokenizer = gpt2();
    let text = "Hi 👩‍👩‍👧! 他欠我100万，龘靐。 ❤️ and 🏳️‍🌈 é\u{301}";
    let ids = tokenizer.encode(text).unwrap();
    let mut stream = tokenizer.decode_stream();
    let mut pieces: Vec<String> = ids.iter().filter_map(|id| stream.push(*id).unwrap()).collect();
    pieces.extend(stream.finish().unwrap());
    assert!(pieces.len() < ids.len());
    assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)), "{pieces:?}");
    assert_eq!(pieces.concat(), text);
}

#[test]
fn a_saved_gpt2_is_the_same_from_every_file_that_was_written() {
    let (tokenizer, corpus) = (gpt2(), austen());
    let text = format!("{}<|endoftext|>\n\n  中 👍🏽", &corpus.text()[..20_000]);
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    assert!(is_same(&Tokenizer::from_directory(folder.path()).unwrap(), &tokenizer, &text));
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(is_same(&Tokenizer::from_directory(folder.path()).unwrap(), &tokenizer, &text));
}

#[test]
fn trained_byte_pairs_with_an_end_of_text_are_saved_as_those_of_gpt2() {
    let text = "the cat sat on the mat </w> the cat\n";
    let corpus = Corpus::new("cats", text.repeat(9)).unwrap();
    let tokenizer = Tokenizer::byte_pair(&corpus, 290).unwrap();
    let with_end = tokenizer.clone().with_special_tokens(&["<|endoftext|>"]).unwrap();
    assert_eq!(with_end.id("<|endoftext|>"), Some(tokenizer.vocab_size() as u32));
    let folder = tempfile::tempdir().unwrap();
    with_end.save(folder.path()).unwrap();
    let loaded = Tokenizer::from_directory(folder.path()).unwrap();
    assert!(is_same(&loaded, &with_end, "the cat<|endoftext|>the 中"));
    // The files of older readers have all but the token that was added.
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let loaded = Tokenizer::from_directory(folder.path()).unwrap();
    assert!(is_same(&loaded, &tokenizer, text));
}

#[test]
fn a_folder_without_a_tokenizer_is_an_error_that_names_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.json"), "{}").unwrap();
    let error = Tokenizer::from_directory(folder.path()).unwrap_err().to_string();
    let expected = "holds no tokenizer: expected tokenizer.json, or vocab.json with merges.txt, encoder.json with \
                    vocab.bpe, encoder_bpe_40000.json with vocab_40000.bpe, or vocab.txt";
    assert!(error.ends_with(expected), "{error}");
    fs::write(folder.path().join("merges.txt"), "#version: 0.2\na b\n").unwrap();
    let error = Tokenizer::from_directory(folder.path()).unwrap_err();
    assert!(
        matches!(&error, TextError::TokenizerFormat { name, .. } if name.ends_with("merges.txt")),
        "{error}"
    );
}

#[test]
fn gpt2_is_no_gpt1() {
    let error = Tokenizer::gpt1(datasets().join("gpt2-bpe"), Gpt1Text::Hf).unwrap_err();
    assert!(matches!(error, TextError::NotGpt1 { .. }), "{error}");
}

#[test]
fn gpt1_gives_the_published_ids() {
    let Some(folder) = gpt1_folder() else { return };
    for text in [Gpt1Text::OpenAi, Gpt1Text::Hf] {
        let tokenizer = Tokenizer::gpt1(folder.path(), text).unwrap();
        assert_eq!(tokenizer.vocab_size(), 40478);
        for (word, ids) in [
            ("hello", &[3570][..]),
            ("World", &[1276]),
            ("unaffable", &[563, 752, 21948]),
            ("transformer", &[2973, 5353]),
            ("tokenization", &[571, 2987, 26922]),
            ("the", &[481]),
            (".", &[239]),
            ("!", &[267]),
            ("", &[]),
            ("中", &[0]),
        ] {
            assert_eq!(tokenizer.encode(word).unwrap(), ids, "{text:?}: {word}");
        }
    }
}

#[test]
fn gpt1_reads_contractions_accents_and_line_breaks_in_two_ways() {
    let Some(folder) = gpt1_folder() else { return };
    let openai = Tokenizer::gpt1(folder.path(), Gpt1Text::OpenAi).unwrap();
    let encode = |text: &str| openai.encode(text).unwrap();
    assert_eq!(encode("Don't")[1..], [538]);
    assert_eq!(encode("n't"), [538]);
    assert_eq!(encode("so … é"), [[encode("so")[0]], [749], [300]].concat());
    assert_eq!(encode("a\n\n b")[1], 40477);
    assert_eq!(openai.decode(&encode("I don’t know—café.")).unwrap(), "i do n't know - café .");

    let hf = Tokenizer::gpt1(folder.path(), Gpt1Text::Hf).unwrap();
    let ids = hf.encode("I don't know\n- café.").unwrap();
    assert_eq!(hf.decode(&ids).unwrap(), "i don ' t know - cafe .");
    assert_eq!(hf.decode(&[]).unwrap(), "");
}

#[test]
fn gpt1_is_the_same_under_the_names_of_transformers_and_when_it_was_saved() {
    let Some(folder) = gpt1_folder() else { return };
    let text = "Mr. Bennet\ndidn't say: <unk> “naïve” 100km…";
    let names = [["encoder_bpe_40000.json", "vocab.json"], ["vocab_40000.bpe", "merges.txt"]];
    let other = tempfile::tempdir().unwrap();
    copy_as(folder.path(), other.path(), names);
    for front in [Gpt1Text::OpenAi, Gpt1Text::Hf] {
        let tokenizer = Tokenizer::gpt1(folder.path(), front).unwrap();
        assert!(is_same(&Tokenizer::gpt1(other.path(), front).unwrap(), &tokenizer, text));
        let saved = tempfile::tempdir().unwrap();
        tokenizer.save(saved.path()).unwrap();
        assert!(is_same(&Tokenizer::from_directory(saved.path()).unwrap(), &tokenizer, text));
    }
}

#[test]
fn gpt1_is_fine_tuned_with_special_tokens_after_its_own() {
    let Some(folder) = gpt1_folder() else { return };
    let tokenizer = Tokenizer::gpt1(folder.path(), Gpt1Text::OpenAi).unwrap();
    let tokenizer =
        tokenizer.with_special_tokens(&["_start_", "_delimiter_", "_classify_"]).unwrap();
    let ids = ["_start_", "_delimiter_", "_classify_"].map(|token| tokenizer.id(token));
    assert_eq!(ids, [Some(40478), Some(40479), Some(40480)]);
    assert_eq!(tokenizer.vocab_size(), 40481);
    assert_eq!(tokenizer.encode("hello_start_").unwrap(), [3570, 40478]);
}
