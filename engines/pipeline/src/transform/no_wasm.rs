//! What stands for WebAssembly transforms in a build without the feature `wasm`: a connector that no one can have, so that
//! the rest of the engine reads the same in both builds.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use uplift_instrument::stage::StageClock;

use super::{Transform, loading::Loading};
use crate::error::{ErrorKind, PipelineError, Result};

/// Compiled code of the module. There is none.
pub enum Connector {}

/// The error of a build without the runtime.
pub fn missing() -> PipelineError {
    let kind = ErrorKind::Unavailable {
        state: "transform_engine = \"wasm\": the WebAssembly runtime is not in this build".to_owned(),
        remedy: "build it in with `cargo run --features wasm -- …`, which takes minutes the first time".to_owned(),
        missing: None,
    };
    PipelineError::new("preparing the transform", kind)
}

impl Connector {
    /// # Errors
    /// Always: there is no compiler.
    pub fn compile(_: &Loading, _: &mut StageClock) -> Result<Self> {
        Err(missing())
    }

    /// # Errors
    /// Always: there is no runtime.
    pub fn load(_: &Path, _: &Loading, _: &mut StageClock) -> Result<Self> {
        Err(missing())
    }

    /// # Errors
    /// Always: there is no compiler.
    pub fn precompile(_: &Path) -> Result<PathBuf> {
        Err(missing())
    }

    /// Does not return, as there is nothing to advance.
    pub fn tick_until(&self, _: impl Fn(Duration) -> bool) {
        match *self {}
    }
}

/// A transform by the module. There is none.
pub enum Wasm {}

impl Wasm {
    /// Takes a connector, which no one can have.
    ///
    /// # Errors
    /// None.
    pub fn new(
        connector: &Connector,
        _: &str,
        _: &Schema,
        _: SchemaRef,
        _: Duration,
        _: &Loading,
        _: &mut StageClock,
    ) -> Result<Self> {
        match *connector {}
    }
}

impl Transform for Wasm {
    fn apply(&mut self, _: &RecordBatch, _: &mut StageClock) -> Result<RecordBatch> {
        match *self {}
    }
}
