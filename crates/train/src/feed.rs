//! The data of a run's phases, as its recipe says.

use serde_json::Value;

use crate::data::{
    self, Loader, LoaderConfig, Sample, Share, SourceContext, check_data, instruct, open_source,
};
use crate::parallel::Collective;
use crate::recipe::{DataRecipe, Phase, Recipe, Stage, StageKind};
use crate::trainer::{Batches, FedBatch, Feed};

/// Sets the choices of phases apart.
const PHASE: u64 = 0x9e37_79b9_7f4a_7c15;
/// Sets the choices of validation apart from those of training.
const VALIDATION: u64 = 0x7661_6c69_6461_7465;

/// The data that a recipe names, of which every process has its share.
#[derive(Debug)]
pub struct RecipeFeed {
    recipe: Recipe,
    context: SourceContext,
    num_threads: usize,
    rank: usize,
    world: usize,
}

impl RecipeFeed {
    /// Returns the data of a recipe, of which nothing is read yet; `num_threads` make samples.
    ///
    /// # Errors
    /// If a data set that one of the phases names is unknown, or a file or folder of it is not there.
    pub fn new(
        recipe: &Recipe,
        phases: &[Phase],
        context: SourceContext,
        (num_threads, group): (usize, &dyn Collective),
    ) -> Result<Self, data::Error> {
        for phase in phases {
            check_data(&phase.data, phase.stage.kind)?;
        }
        for data in recipe.validation.iter().flat_map(|validation| &validation.data) {
            let of_instructions = instruct::names().contains(&data.name.as_str());
            let is_of_regions = phases.iter().all(|phase| {
                matches!(phase.stage.kind, StageKind::Regions | StageKind::TokenRegions)
            });
            let kind = match (of_instructions, is_of_regions) {
                (true, _) => StageKind::Instructions,
                (false, true) => StageKind::Regions,
                (false, false) => StageKind::Captions,
            };
            check_data(std::slice::from_ref(data), kind)?;
        }
        let (rank, world) = (group.rank(), group.world());
        Ok(Self { recipe: recipe.clone(), context, num_threads, rank, world })
    }

    /// Opens a stream with a seed of its own.
    fn load(
        &self,
        (data, stage): (&[DataRecipe], &Stage),
        seed: u64,
        share: Option<Share>,
        position: Option<&Value>,
    ) -> Result<Loader, data::Error> {
        let context = SourceContext { seed, ..self.context.clone() };
        let source = open_source(data, stage, &context)?;
        let num_threads = self.num_threads;
        let default = LoaderConfig::default();
        // While a batch is computed the whole next one is made.
        let prefetch = share.map_or(0, |share| 2 * share.block).max(default.prefetch);
        let config = LoaderConfig { seed, num_threads, prefetch, share, ..default };
        Loader::start(source, config, position)
    }
}

impl Feed for RecipeFeed {
    fn open(
        &mut self,
        phase: &Phase,
        index: usize,
        position: Option<&Value>,
    ) -> Result<Box<dyn Batches>, data::Error> {
        let block = phase.batch.micro_batch;
        let share = Share { index: self.rank, count: self.world, block };
        let seed = self.recipe.seed ^ (index as u64).wrapping_mul(PHASE);
        let what = (phase.data.as_slice(), &phase.stage);
        Ok(Box::new(self.load(what, seed, Some(share), position)?))
    }

    fn validation(&mut self, phase: &Phase) -> Result<Vec<Vec<Sample>>, data::Error> {
        let Some(validation) = &self.recipe.validation else { return Ok(Vec::new()) };
        let names = instruct::names();
        let fits = |data: &&DataRecipe| {
            names.contains(&data.name.as_str()) == (phase.stage.kind == StageKind::Instructions)
        };
        let data: Vec<_> = validation.data.iter().filter(fits).cloned().collect();
        if data.is_empty() {
            return Ok(Vec::new());
        }
        let stage = Stage { augment: false, ..phase.stage.clone() };
        let mut loader = self.load((&data, &stage), self.recipe.seed ^ VALIDATION, None, None)?;
        let batch = |_| Ok(loader.next_batch(phase.batch.micro_batch)?.samples);
        (0..validation.batches).map(batch).collect()
    }
}

impl Batches for Loader {
    fn next_batch(&mut self, len: usize) -> Result<FedBatch, data::Error> {
        let data::Batch { samples, bad, position } = Loader::next_batch(self, len)?;
        Ok(FedBatch { samples, bad, position })
    }
}
