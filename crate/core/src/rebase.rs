//! Brings the overlay in line with the confirmed pages: drop it, replay what is pending.

use offprint_protocol::{Definition, Error, Touched};

use crate::mutator::{Call, Mutators};
use crate::record::PendingMutation;
use crate::sqlite::Database;

/// Replays `pending` in order on top of the confirmed pages and the definition's missing migrations, and gives what
/// the new overlay touches. A mutation that fails here is left out of the overlay and stays pending: the primary
/// decides.
pub(crate) fn rebase<'a>(
    database: &mut Database,
    definition: &Definition,
    mutators: &Mutators,
    pending: impl Iterator<Item = &'a PendingMutation>,
) -> Result<Touched, Error> {
    database.pages().clear_overlay();
    let migrated = database.migrate(definition)?;
    let calls: Vec<Call<'_>> =
        pending.map(|entry| (entry.mutation.name.as_str(), &entry.mutation.args[..])).collect();
    if calls.is_empty() {
        return Ok(migrated);
    }
    let results = database.run_batch(mutators, &calls)?;
    Ok(results.into_iter().flatten().fold(migrated, Touched::merge))
}
