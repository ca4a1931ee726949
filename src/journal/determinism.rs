//! A check of determinism that finds what depends on more than the value of the state.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use super::record::{decode_whole, encode};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::scribe::Check;

/// A copy is what the encoding says of a state: a hash map in it gets another order, and what is not encoded is lost.
pub(crate) struct ByEncoding;

impl<S: Reducer + Serialize + DeserializeOwned> Check<S> for ByEncoding {
    fn copy(&self, state: &S) -> Result<S, String> {
        let mut bytes = Vec::new();
        encode(state, &mut bytes).map_err(|fault| format!("the state cannot be encoded: {fault}"))?;
        decode_whole(&bytes).map_err(|fault| format!("the state cannot be decoded again: {fault}"))
    }

    fn hash(&self, state: &S) -> Result<u128, String> {
        let mut bytes = Vec::new();
        encode(state, &mut bytes).map_err(|fault| format!("the state cannot be encoded: {fault}"))?;
        Ok(xxh3_128(&bytes))
    }
}
