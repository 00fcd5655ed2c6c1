//! Brings the overlay in line with the confirmed pages: drop it, replay what is pending.

use offprint_protocol::{Definition, Error, MutationSeq, Touched};

use crate::mutator::{Call, Mutators};
use crate::record::PendingMutation;
use crate::sqlite::Database;

/// What a rebase led to.
#[derive(Debug)]
pub(crate) struct Rebased {
    /// What the new overlay touches.
    pub(crate) touched: Touched,
    /// The mutations that failed, ascending, and why.
    pub(crate) failed: Vec<(MutationSeq, Error)>,
}

/// Replays `pending` in order on top of the confirmed pages and the definition's missing migrations, A mutation that
/// fails here is left out of the overlay and stays pending: the primary decides.
pub(crate) fn rebase<'a>(
    database: &mut Database,
    definition: &Definition,
    mutators: &Mutators,
    pending: impl Iterator<Item = &'a PendingMutation>,
) -> Result<Rebased, Error> {
    database.pages().clear_overlay();
    let migrated = database.migrate(definition)?;
    let (seqs, calls): (Vec<MutationSeq>, Vec<Call<'_>>) = pending
        .map(|entry| &entry.mutation)
        .map(|mutation| (mutation.seq, (mutation.name.as_str(), &mutation.args[..])))
        .unzip();
    let mut rebased = Rebased { touched: migrated, failed: Vec::new() };
    if calls.is_empty() {
        return Ok(rebased);
    }
    for (seq, result) in seqs.into_iter().zip(database.run_batch(mutators, &calls)?) {
        match result {
            Ok(touched) => rebased.touched = rebased.touched.merge(touched),
            Err(error) => rebased.failed.push((seq, error)),
        }
    }
    Ok(rebased)
}
