//! What a run would be: its resolved recipe, its parameters, the memory of a step.

use anyhow::Result;
use train::memory::Footprint;

use super::learner::Origin;
use super::request::Request;
use crate::environment::Environment;
use crate::{files, output};

/// Prints a recipe that is complete, with figures in comments above it.
pub(crate) fn print(request: &Request, environment: &Environment) -> Result<()> {
    let recipe = &request.recipe;
    let config = Origin::locate(recipe, None, environment)?.config()?;
    let footprint = Footprint::predict(&config, recipe, &request.phases);
    let mut text = format!("# directory    {}\n", request.directory.display());
    for phase in &request.phases {
        let batch = phase.batch;
        let (steps, samples) = (phase.schedule.steps, batch.micro_batch * batch.accumulation);
        let name = &phase.name;
        let line =
            format!("# phase        {name}: {steps} steps of {samples} samples in each process\n");
        text.push_str(&line);
    }
    text.push_str(&describe(&footprint));
    text.push('\n');
    text.push_str(&recipe.to_toml()?);
    output::text(&text)
}

/// Returns a footprint as lines of comment.
pub(crate) fn describe(footprint: &Footprint) -> String {
    let Footprint { trained, frozen, weights, gradients, moments, activations } = *footprint;
    let size = files::size;
    format!(
        "# parameters   {} trained, {} frozen\n\
         # memory       about {}: weights {}, gradients {}, moments {}, activations {}\n",
        number(trained),
        number(frozen),
        size(footprint.total()),
        size(weights),
        size(gradients),
        size(moments),
        size(activations),
    )
}

/// Returns a number with commas.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn large_numbers_have_commas() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1000), "1,000");
        assert_eq!(number(12_345_678), "12,345,678");
    }
}
