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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Result<Launch, String> {
        let find = |name: &str| vars.iter().find(|(found, _)| *found == name);
        Launch::from_vars(|name| find(name).map(|(_, value)| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_launcher_is_understood() {
        assert_eq!(of(&[]), Ok(Launch::default()));
        for (launcher, [rank, world, local]) in LAUNCHERS {
            let launch = of(&[(rank, "5"), (world, "8"), (local, "1")]).unwrap();
            let expected = Launch { rank: 5, world: 8, local_rank: 1, launcher: Some(launcher) };
            assert_eq!(launch, expected);
        }
    }

    #[test]
    fn the_launcher_next_to_the_process_counts() {
        let slurm = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")];
        let inner = [("OMPI_COMM_WORLD_RANK", "3"), ("OMPI_COMM_WORLD_SIZE", "4")];
        let launch = of(&[slurm, inner].concat()).unwrap();
        assert_eq!((launch.rank, launch.world, launch.launcher), (3, 4, Some("OpenMPI")));
        let torchrun = [("RANK", "1"), ("WORLD_SIZE", "2")];
        assert_eq!(of(&[slurm, inner, torchrun].concat()).unwrap().launcher, Some("torchrun"));
    }

    #[test]
    fn a_rank_without_a_number_of_processes_says_nothing() {
        assert_eq!(of(&[("RANK", "3"), ("WORLD_SIZE", "")]), Ok(Launch::default()));
    }

    #[test]
    fn variables_that_make_no_sense_are_refused() {
        assert_eq!(
            of(&[("RANK", "first"), ("WORLD_SIZE", "2")]).unwrap_err(),
            "environment variable `RANK` is `first`, expected a number from 0"
        );
        assert_eq!(
            of(&[("SLURM_PROCID", "4"), ("SLURM_NTASKS", "4")]).unwrap_err(),
            "environment variable `SLURM_PROCID` is `4`, expected a number below 4, the number of \
             processes"
        );
    }
}
