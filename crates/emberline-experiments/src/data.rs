//! `emberline data`: brings a data set into the cache and checks it.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use emberline_checkpoint::write_atomically;
use emberline_text::datasets::PublicDataset;

use crate::cli::DataArguments;
use crate::datasets;
use crate::failure::{Failure, Outcome};
use crate::terminal;

/// How long the server may keep us waiting for a whole file.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Fetches or copies, and prints where the data is.
pub fn run(arguments: DataArguments) -> Outcome {
    let dataset = datasets::public(&arguments.name).map_err(Failure::Usage)?;
    let file = datasets::cached(&datasets::cache()?, dataset);
    if arguments.from.is_none() && is_whole(dataset, &file) {
        terminal::note(format_args!("{} is there already, whole", dataset.name));
    } else {
        let bytes = match &arguments.from {
            Some(from) => copied(dataset, from)?,
            None => fetched(dataset, dataset.url, TIMEOUT)?,
        };
        store(&file, &bytes)?;
    }
    Ok(terminal::result(format_args!("{}\n", file.display()))?)
}

fn is_whole(dataset: &PublicDataset, file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| datasets::verify(dataset, &bytes, "the cache").is_ok())
}

fn copied(dataset: &PublicDataset, from: &Path) -> Result<Vec<u8>> {
    let origin = from.display().to_string();
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {origin}"))?;
    datasets::verify(dataset, &bytes, &origin)?;
    Ok(bytes)
}

/// The bytes at `url`, which must be those of the data set.
fn fetched(dataset: &PublicDataset, url: &str, timeout: Duration) -> Result<Vec<u8>> {
    if url.starts_with("https:") && !cfg!(feature = "fetch") {
        bail!(
            "this program was built without downloads (the feature `fetch`): start it by \
             `cargo xtask data {}`, or take a local copy with --from FILE",
            dataset.name
        );
    }
    terminal::note(format_args!("fetching {url}"));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(timeout)).build().into();
    let what = || format!("cannot fetch {url}");
    let mut response = agent.get(url).call().with_context(what)?;
    let mut bytes = Vec::new();
    // One byte more than expected shows a file that is too long, without taking all of it.
    let mut reader = response.body_mut().as_reader().take(dataset.bytes + 1);
    reader.read_to_end(&mut bytes).with_context(what)?;
    datasets::verify(dataset, &bytes, url)?;
    Ok(bytes)
}

fn store(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().context("the cache has a folder")?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(write_atomically(file, bytes)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    const LETTERS: PublicDataset = PublicDataset {
        name: "letters",
        description: "three letters",
        url: "",
        file_name: "letters.txt",
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        bytes: 3,
    };

    /// What fetching gives from a server that answers once with these bytes, and then waits for the client.
    fn from_server(answer: &'static str) -> Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/letters.txt", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            if !answer.is_empty() {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let _ = stream.read(&mut request);
        });
        let result = fetched(&LETTERS, &url, Duration::from_millis(500));
        server.join().unwrap();
        result
    }

    fn complaint(answer: &'static str) -> String {
        format!("{:#}", from_server(answer).unwrap_err())
    }

    #[test]
    fn the_right_bytes_are_taken() {
        let bytes = from_server("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert_eq!(bytes, b"abc");
    }

    #[test]
    fn wrong_bytes_are_refused_with_both_hashes() {
        let message = complaint("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabd");
        assert!(message.contains("ba7816bf") && message.contains("a52d159f"), "{message}");
        let message = complaint("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcabcabc");
        assert!(message.contains("expected 3 bytes"), "{message}");
    }

    #[test]
    fn a_refusal_names_the_address_and_the_status() {
        let message = complaint("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        assert!(message.contains("/letters.txt") && message.contains("404"), "{message}");
    }

    #[test]
    fn a_connection_that_breaks_off_is_an_error() {
        let message = complaint("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab");
        assert!(message.contains("cannot fetch http://"), "{message}");
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
        let message = complaint("");
        assert!(message.contains("cannot fetch") && message.contains("timeout"), "{message}");
    }

    #[cfg(not(feature = "fetch"))]
    #[test]
    fn a_build_without_downloads_says_how_to_get_one() {
        let error = fetched(&LETTERS, "https://example.org/letters.txt", TIMEOUT).unwrap_err();
        assert!(error.to_string().contains("--from FILE"));
    }

    #[test]
    fn a_local_copy_is_checked_too_and_stored_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
        std::fs::write(&good, "abc").unwrap();
        std::fs::write(&bad, "ab").unwrap();
        assert!(copied(&LETTERS, &bad).unwrap_err().to_string().contains("bad is not letters"));
        let file = datasets::cached(&folder.path().join("cache"), &LETTERS);
        store(&file, &copied(&LETTERS, &good).unwrap()).unwrap();
        assert!(is_whole(&LETTERS, &file));
        assert!(!is_whole(&LETTERS, &bad));
    }
}
