//! How a launcher tells a process which of several it is.

use crate::Error;
use crate::parallel::Alone;
use crate::parallel::Collective;

/// Variables of a rank, the number of processes, and the rank on this machine, by launcher.
const LAUNCHERS: [(&str, [&str; 3]); 3] = [
    ("torchrun", ["RANK", "WORLD_SIZE", "LOCAL_RANK"]),
    ("OpenMPI", ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"]),
    ("Slurm", ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"]),
];

/// Which of several processes this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which of all of them.
    pub rank: usize,
    /// How many there are.
    pub world: usize,
    /// Which of those on this machine.
    pub local_rank: usize,
    /// Who says so, if anybody does.
    pub launcher: Option<&'static str>,
}

impl Default for Launch {
    fn default() -> Self {
        Self { rank: 0, world: 1, local_rank: 0, launcher: None }
    }
}

impl Launch {
    /// The environment variables that [`Self::from_vars`] asks for.
    pub fn variables() -> impl Iterator<Item = &'static str> {
        LAUNCHERS.iter().flat_map(|(_, names)| names.iter().copied())
    }

    /// Reads what the environment says, through a function that looks a variable up.
    ///
    /// The variables of torchrun count before those of `OpenMPI`, and these before those of Slurm,
    /// which stays around what others start. A launcher is heard if it gives both the rank and the
    /// number of processes; Slurm also sets them in shells, as one process.
    ///
    /// # Errors
    /// If a variable is not a number, or the rank is not below the number of processes.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        for (launcher, [rank, world, local]) in LAUNCHERS {
            let number = |name: &str| -> Result<Option<usize>, Error> {
                let Some(text) = lookup(name).filter(|text| !text.is_empty()) else {
                    return Ok(None);
                };
                let failed = |_| Error::Launch {
                    variable: name.to_owned(),
                    found: text.clone(),
                    expected: "a number from 0".to_owned(),
                };
                text.parse().map(Some).map_err(failed)
            };
            let (Some(found), Some(world)) = (number(rank)?, number(world)?) else { continue };
            if found >= world {
                return Err(Error::Launch {
                    variable: rank.to_owned(),
                    found: found.to_string(),
                    expected: format!("a number below {world}, the number of processes"),
                });
            }
            let local_rank = number(local)?.unwrap_or(0);
            return Ok(Self { rank: found, world, local_rank, launcher: Some(launcher) });
        }
        Ok(Self::default())
    }

    /// Returns the processes that were launched together.
    ///
    /// # Errors
    /// If there are several and this program was built without MPI, or they cannot be reached.
    pub fn connect(&self) -> Result<Box<dyn Collective>, Error> {
        match self.world {
            1 => Ok(Box::new(Alone)),
            #[cfg(feature = "mpi")]
            _ => Ok(Box::new(super::Mpi::connect(self)?)),
            #[cfg(not(feature = "mpi"))]
            world => Err(Error::WithoutMpi { world }),
        }
    }
}
