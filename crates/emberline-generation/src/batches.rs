//! Inputs in batches, and batches beside each other.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use burn::tensor::Device;
use emberline_backend::is_on_host;

/// Indices of inputs, the shortest first, in batches of at most `batch_size`.
pub(crate) fn batches_by_length(inputs: &[&[u32]], batch_size: usize) -> Vec<Vec<usize>> {
    by_length(inputs).chunks(batch_size).map(<[usize]>::to_vec).collect()
}

/// The same, with inputs of one length in each batch.
pub(crate) fn batches_of_one_length(inputs: &[&[u32]], batch_size: usize) -> Vec<Vec<usize>> {
    let by_length = by_length(inputs);
    let of_one_length = by_length.chunk_by(|a, b| inputs[*a].len() == inputs[*b].len());
    of_one_length.flat_map(|rows| rows.chunks(batch_size)).map(<[usize]>::to_vec).collect()
}

fn by_length(inputs: &[&[u32]]) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..inputs.len()).collect();
    rows.sort_by_key(|row| inputs[*row].len());
    rows
}

/// What `run` finds of each batch, in their order. On the CPU each thread works on a batch of its own, with all that is
/// in it: a step of decoding has many small operations, of which threads together make little more than one alone.
///
/// # Errors
/// That of the first batch that has one.
pub(crate) fn each_batch<T: Send, E: Send>(
    batches: Vec<Vec<usize>>,
    device: &Device,
    run: impl Fn(Vec<usize>) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let n_threads = rayon::current_num_threads().min(batches.len());
    if n_threads < 2 || !is_on_host(device) {
        return batches.into_iter().map(run).collect();
    }
    // The longest first, so that no thread is left with one at the end.
    let waiting = Mutex::new(batches.into_iter().enumerate().collect::<Vec<_>>());
    let work = || {
        // In a pool of one thread an operation runs where it is called.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        pool.install(|| {
            let next = || waiting.lock().expect("a list that is whole").pop();
            std::iter::from_fn(next).map(|(index, batch)| (index, run(batch))).collect::<Vec<_>>()
        })
    };
    let mut found: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, found)| found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_neighbours_in_length() {
        let inputs: [&[u32]; 5] = [&[1, 2, 3], &[4], &[5, 6], &[7], &[8]];
        assert_eq!(batches_by_length(&inputs, 2), [vec![1, 3], vec![4, 2], vec![0]]);
        assert_eq!(batches_of_one_length(&inputs, 2), [vec![1, 3], vec![4], vec![2], vec![0]]);
    }

    #[test]
    fn what_is_found_of_batches_comes_in_their_order_and_so_does_an_error() {
        let device = emberline_backend::test_device();
        let batches = || (0..40).map(|index| vec![index; 3]).collect::<Vec<_>>();
        let found = each_batch(batches(), &device, |batch| Ok::<_, ()>(batch[0] * 2));
        assert_eq!(found.unwrap(), (0..40).map(|index| index * 2).collect::<Vec<_>>());
        let fails = |batch: Vec<usize>| if batch[0] % 7 == 3 { Err(batch[0]) } else { Ok(()) };
        assert_eq!(each_batch(batches(), &device, fails), Err(3));
    }
}
