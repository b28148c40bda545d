//! The processes that train together.

use anyhow::Result;
use train::parallel::{Collective, Launch};

use crate::environment::Environment;

/// Joins the processes that were started together with this one.
///
/// # Errors
/// If they cannot be reached.
pub(crate) fn join(environment: &Environment) -> Result<Box<dyn Collective>> {
    let launch = Launch::from_vars(|name| environment.launch.get(name).cloned())?;
    Ok(launch.connect()?)
}
