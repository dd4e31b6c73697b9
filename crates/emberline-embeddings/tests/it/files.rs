//! Files of vectors that others wrote, and ours as others write them.

use emberline_embeddings::{
    EmbeddingsError, FastText, Format, WordVectors, read_vectors, write_vectors,
};

use crate::{fixture, shared};

fn some_vectors() -> WordVectors {
    WordVectors::from_rows(&[
        (&b"the"[..], vec![0.1, -2.5e-8, 3.0]),
        (b"caf\xe9", vec![f32::MIN_POSITIVE, 1.0 / 3.0, -0.0]),
        ("中".as_bytes(), vec![1e20, -7.0, 0.5]),
    ])
}

fn same(one: &WordVectors, other: &WordVectors) {
    assert!(one.words().iter().eq(other.words().iter()));
    for place in 0..one.len() {
        let bits = |vectors: &WordVectors| {
            vectors.vector(place).iter().map(|number| number.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(one), bits(other), "{}", one.words().text(place));
    }
}

#[test]
fn every_format_that_is_written_is_read_again_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Text, Format::Glove, Format::Binary, Format::Safetensors] {
        let path = folder.path().join("vectors");
        write_vectors(&path, &some_vectors(), format).unwrap();
        same(&read_vectors(&path).unwrap(), &some_vectors());
    }
}

/// A file of these bytes, read.
fn read(bytes: &[u8]) -> Result<WordVectors, EmbeddingsError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, bytes).unwrap();
    read_vectors(file.path())
}

fn error(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn a_header_that_disagrees_with_the_rows_is_an_error() {
    assert!(error(b"3 2\na 1 2\nb 3 4\n").ends_with("is to hold 3 vectors, and holds 2 or more"));
    assert!(error(b"1 2\na 1 2\nb 3 4\n").ends_with("is to hold 1 vectors, and holds 2 or more"));
    let mut binary = b"1 1\na \0\0\x80\x3f\n".to_vec();
    assert_eq!(read(&binary).unwrap().get("a"), Some(&[1.0][..]));
    binary.extend(b"b \0\0\x80\x3f\n");
    assert!(error(&binary).ends_with("is to hold 1 vectors, and holds 2 or more"));
}

#[test]
fn a_row_of_another_width_is_named_by_its_line() {
    assert!(error(b"a 1 2\nb 3\n").ends_with(":2: expected 2 numbers, but found 1"));
    assert!(error(b"2 2\na 1 2\nb 3 4 5\n").ends_with(":3: expected 2 numbers, but found 3"));
    assert!(error(b"a 1 2\nb 3 x\n").ends_with(":2: \"x\" is no number"));
}

#[test]
fn what_is_no_number_is_named_by_its_word() {
    assert!(error(b"a 1 2\nb NaN 3\n").starts_with("the vector of \"b\" in "));
    let mut binary = b"1 1\na ".to_vec();
    binary.extend(f32::INFINITY.to_le_bytes());
    assert!(error(&binary).starts_with("the vector of \"a\" in "));
}

#[test]
fn a_word_with_two_vectors_is_named_with_both() {
    assert!(error(b"a 1\nb 2\na 3\n").ends_with("has two vectors of \"a\", number 1 and number 3"));
}

#[test]
fn a_word_of_glove_may_have_spaces() {
    let vectors = read(b"a 1 2\n. . . 3 4\n").unwrap();
    assert_eq!(vectors.get(". . ."), Some(&[3.0, 4.0][..]));
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    for format in [Format::Binary, Format::Safetensors] {
        write_vectors(&path, &some_vectors(), format).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // The last line feed of a binary is no loss.
        for length in 0..whole.len() - 1 {
            assert!(read(&whole[..length]).is_err(), "{format:?} of {length} bytes");
        }
    }
    write_vectors(&path, &some_vectors(), Format::Binary).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert!(error(&whole[..whole.len() - 3]).ends_with("ends after 2 of 3 vectors"));
}

#[test]
fn an_empty_file_and_a_header_alone_hold_no_vectors() {
    for bytes in [&b""[..], b"\n", b"0 5\n", b"word\n"] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, EmbeddingsError::NoVectors { .. }), "{bytes:?}: {error:?}");
    }
}

#[test]
fn a_word_that_a_format_has_no_place_for_is_named() {
    let vectors = WordVectors::from_rows(&[("New York", vec![1.0])]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    let error = write_vectors(&path, &vectors, Format::Text).unwrap_err().to_string();
    assert!(error.contains("cannot hold the word \"New York\""), "{error}");
    assert!(!path.exists());
    write_vectors(&path, &vectors, Format::Safetensors).unwrap();
}

#[test]
fn gensims_two_files_of_the_same_vectors_are_the_same() {
    let [binary, text] =
        ["bin", "txt"].map(|e| read_vectors(fixture(&format!("gensim_vectors.{e}"))).unwrap());
    assert_eq!((binary.len(), binary.width()), (100, 6));
    same(&binary, &text);
    // Gensim writes no line feed behind a vector, and the C program does: both are read.
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours.bin");
    write_vectors(&ours, &binary, Format::Binary).unwrap();
    let gensims = std::fs::read(fixture("gensim_vectors.bin")).unwrap();
    assert_eq!(std::fs::read(&ours).unwrap().len(), gensims.len() + binary.len());
    same(&read_vectors(&ours).unwrap(), &binary);
}

#[test]
fn what_is_written_are_the_files_that_gensim_read() {
    // tests/fixtures/gensim_reads_ours.py opens them.
    let vectors = read_vectors(fixture("gensim_vectors.bin")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (end, format) in [("bin", Format::Binary), ("txt", Format::Text)] {
        let (path, kept) = (folder.path().join(end), fixture(&format!("ours_vectors.{end}")));
        write_vectors(&path, &vectors, format).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&kept).unwrap(), "{end}");
        same(&read_vectors(&kept).unwrap(), &vectors);
    }
}

#[test]
fn an_old_file_of_gensim_is_read() {
    let Some(fixtures) = shared("tests/gensim-fixtures") else { return };
    let vectors = read_vectors(fixtures.join("euclidean_vectors.bin")).unwrap();
    assert_eq!((vectors.len(), vectors.width()), (2747, 10));
    assert_eq!(vectors.words().get(0), b"the");
}

#[test]
fn gloves_text_is_read() {
    let Some(fixtures) = shared("tests/gensim-fixtures") else { return };
    let vectors = read_vectors(fixtures.join("test_glove.txt")).unwrap();
    assert_eq!((vectors.words().get(0), vectors.width()), (&b"the"[..], 50));
    assert_eq!(vectors.get("the").unwrap()[..2], [0.418, 0.24968]);
}

#[test]
fn fasttexts_two_files_of_a_model_agree() {
    let Some(fixtures) = shared("tests/gensim-fixtures") else { return };
    for name in ["lee_fasttext", "crime-and-punishment"] {
        let [model, text] = ["bin", "vec"].map(|e| fixtures.join(format!("{name}.{e}")));
        let (model, text) = (read_vectors(model).unwrap(), read_vectors(text).unwrap());
        assert_eq!((model.len(), model.width()), (text.len(), text.width()));
        for place in 0..text.len() {
            let word = text.words().get(place);
            let ours = model.get(word).unwrap();
            // The text has five digits of each number.
            let far = text.vector(place).iter().zip(ours).map(|(a, b)| (a - b).abs() / a.abs());
            assert!(far.fold(0.0, f32::max) < 6e-5, "{name}: {}", text.words().text(place));
        }
    }
}

#[test]
fn a_word_that_fasttext_never_saw_has_the_vector_of_its_pieces() {
    let Some(fixtures) = shared("tests/gensim-fixtures") else { return };
    let model = FastText::open(fixtures.join("lee_fasttext.bin")).unwrap();
    let known = model.words().text(100).into_owned();
    assert!(model.words().place(format!("{known}s")).is_none());
    let (known, new) = (model.vector(&known).unwrap(), model.vector(format!("{known}s")).unwrap());
    assert!(known.iter().zip(&new).any(|(a, b)| a != b));
    assert!(new.iter().all(|number| number.is_finite()));
    let mut short = std::fs::read(fixtures.join("lee_fasttext.bin")).unwrap();
    short.truncate(short.len() / 3);
    assert!(error(&short).ends_with("is no fastText model that can be read: it ends too early"));
}
