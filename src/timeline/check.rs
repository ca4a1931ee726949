//! A check of determinism that needs no more of a state than its hash.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use crate::main_lane::scribe::Check;

/// Two copies, and a hash of 64 bits.
pub(crate) struct ByHash;

impl<S: Hash + Clone> Check<S> for ByHash {
    fn copy(&self, state: &S) -> Result<S, String> {
        Ok(state.clone())
    }

    fn hash(&self, state: &S) -> Result<u128, String> {
        Ok(u128::from(FixedState::default().hash_one(state)))
    }
}
