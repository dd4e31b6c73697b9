//! Likelihoods of many continuations whose prompts begin alike: a few examples and then a question, or a question and
//! its answers. What is shared is read once.

use burn::tensor::Device;
use emberline_core::{Cache, Incremental, TokenBatch};

use crate::batches::batches_by_length;
use crate::error::GenerationError;
use crate::likelihood::{Likelihood, Scored, nothing_found, score, texts};

/// Those of [`likelihoods`](crate::likelihoods), within what differs between reading a text at once and in two parts.
///
/// Texts that share at least a half of each go on from one cache. For whatever shares less, this is the other function.
///
/// # Errors
/// Those of [`likelihoods`](crate::likelihoods).
///
/// # Panics
/// If there is not one continuation for each prompt.
pub fn likelihoods_sharing_prefixes<M: Incremental>(
    model: &M,
    prompts: &[&[u32]],
    continuations: &[&[u32]],
    max_positions: Option<usize>,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Likelihood>, GenerationError> {
    let texts = texts(prompts, continuations, max_positions, batch_size, model.vocab_size())?;
    let rows: Vec<Row> = texts
        .iter()
        .zip(continuations)
        .map(|(text, continuation)| Row {
            text,
            n_unscored: text.len() - continuation.len().max(1),
        })
        .collect();
    let mut found = nothing_found(rows.len());
    for Group { rows: members, n_shared } in groups(&rows) {
        let prefix = &rows[members[0]].text[..n_shared];
        let before = match prefix {
            [] => None,
            prefix => Some(model.encode_from(&TokenBatch::from_rows(&[prefix], device), None).1),
        };
        let rests: Vec<&[u32]> = members.iter().map(|row| &rows[*row].text[n_shared..]).collect();
        for batch in batches_by_length(&rests, batch_size) {
            let read: Vec<&[u32]> = batch.iter().map(|member| rests[*member]).collect();
            let before = before.clone().map(|cache| cache.select_rows(&vec![0; batch.len()]));
            let (hidden, _) = model.encode_from(&TokenBatch::padded(&read, device), before);
            let scored = batch.iter().map(|&member| {
                let row = members[member];
                Scored::last(row, rests[member], continuations[row])
            });
            score(model, hidden, scored.collect(), &mut found)?;
        }
    }
    Ok(found)
}

/// What is read of a row.
#[derive(Clone, Copy)]
struct Row<'a> {
    text: &'a [u32],
    /// How many of its tokens come before that whose vector scores the first of the continuation.
    n_unscored: usize,
}

/// Rows that begin with the same tokens.
#[derive(Debug, PartialEq)]
struct Group {
    rows: Vec<usize>,
    n_shared: usize,
}

/// Each row in one group; those that share too little are together in the last, which shares nothing.
fn groups(rows: &[Row<'_>]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| rows[*a].text.cmp(rows[*b].text));
    let mut groups: Vec<Group> = Vec::new();
    // Of the last group.
    let mut longest = 0;
    // Neighbours of this order share the most.
    for row in order {
        let Row { text, n_unscored } = rows[row];
        if let Some(Group { rows: members, n_shared }) = groups.last_mut() {
            let prefix = &rows[members[0]].text[..*n_shared];
            let shared = common(prefix, &text[..n_unscored]);
            // What is not read again must not become less.
            let saved = *n_shared * (members.len() - 1);
            if 2 * shared >= longest.max(text.len()) && shared * members.len() > saved {
                members.push(row);
                (*n_shared, longest) = (shared, longest.max(text.len()));
                continue;
            }
        }
        groups.push(Group { rows: vec![row], n_shared: n_unscored });
        longest = text.len();
    }
    let (mut groups, alone): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| group.rows.len() > 1);
    if !alone.is_empty() {
        let rows = alone.into_iter().flat_map(|group| group.rows).collect();
        groups.push(Group { rows, n_shared: 0 });
    }
    groups
}

/// How many tokens two rows begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;
    use crate::likelihood::likelihoods;
    use crate::test_model::SumModel;

    /// Two questions after the same examples, each with two answers, and a text of its own.
    const PROMPTS: [&[u32]; 5] =
        [&[1, 2, 3, 4, 1], &[1, 2, 3, 4, 1], &[1, 2, 3, 4, 2, 2], &[1, 2, 3, 4, 2, 2], &[4]];
    const TEXTS: [&[u32]; 5] = [&[1, 2], &[3], &[0, 0, 1], &[2, 2, 2], &[1, 1, 1]];

    #[test]
    fn what_is_shared_is_read_once_and_changes_nothing() {
        let model = SumModel::random(3, 11, 5);
        let expected = likelihoods(&model, &PROMPTS, &TEXTS, None, 2, &test_device()).unwrap();
        model.calls.lock().unwrap().clear();
        let run = |max_positions| {
            let device = test_device();
            likelihoods_sharing_prefixes(&model, &PROMPTS, &TEXTS, max_positions, 4, &device)
        };
        assert_eq!(run(None).unwrap(), expected);
        // Four tokens for all, then what is left of each, padded to the longest; then the text alone.
        assert_eq!(*model.calls.lock().unwrap(), [[1, 4], [4, 4], [1, 3]]);
        // A beginning that does not fit is left out before.
        let expected = likelihoods(&model, &PROMPTS, &TEXTS, Some(6), 2, &test_device()).unwrap();
        assert_eq!(run(Some(6)).unwrap(), expected);
    }

    #[test]
    fn the_vector_that_scores_the_first_token_is_never_of_the_shared_part() {
        // The second prompt is the beginning of the first, whose next token is scored too.
        let (prompts, texts): ([&[u32]; 2], [&[u32]; 2]) =
            ([&[1, 2, 3, 4], &[1, 2, 3]], [&[1], &[4]]);
        let model = SumModel::random(3, 11, 5);
        let expected = likelihoods(&model, &prompts, &texts, None, 2, &test_device()).unwrap();
        let found = likelihoods_sharing_prefixes(&model, &prompts, &texts, None, 2, &test_device());
        assert_eq!(found.unwrap(), expected);
        let rows =
            [Row { text: &[1, 2, 3], n_unscored: 2 }, Row { text: &[1, 2, 3, 4], n_unscored: 3 }];
        assert_eq!(groups(&rows), [Group { rows: vec![0, 1], n_shared: 2 }]);
    }

    #[test]
    fn rows_that_share_less_than_a_half_stay_apart() {
        let rows = [&[1, 2, 3, 4, 5][..], &[1, 6, 6], &[7, 7, 7, 7], &[7, 7, 7, 8]];
        let rows = rows.map(|text| Row { text, n_unscored: text.len() - 1 });
        let found = groups(&rows);
        let shared = Group { rows: vec![2, 3], n_shared: 3 };
        assert_eq!(found, [shared, Group { rows: vec![0, 1], n_shared: 0 }]);
        assert_eq!(groups(&[]), []);
    }
}
