//! Who keeps which parameters, and which of them travel together.

use crate::Error;
use crate::learner::ParameterSpec;
use crate::parallel::Tag;

/// The bytes of gradients that are sent together: enough for a message to cost little, few enough
/// for the first to leave early in the backward pass.
const BUCKET_BYTES: usize = 4 << 20;

/// How the parameters are divided among processes; the same in each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the parameters are called, in the order of names.
    names: Vec<String>,
    /// The number of elements of each parameter.
    lens: Vec<usize>,
    /// The owner of each parameter.
    owners: Vec<usize>,
    /// The bucket of each parameter and where it lies in it.
    places: Vec<(usize, usize)>,
    buckets: Vec<Bucket>,
}

/// Parameters of one owner that travel together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Who keeps them.
    pub owner: usize,
    /// Which they are, by their place in the order of names.
    pub parameters: Vec<usize>,
    /// The number of their elements.
    pub len: usize,
}

impl Plan {
    /// Divides parameters, given in the order of names, among `world` processes.
    ///
    /// # Errors
    /// If there are more buckets than tags for them.
    pub fn new(parameters: &[ParameterSpec], world: usize) -> Result<Self, Error> {
        // Very large models have larger buckets.
        let total: usize = parameters.iter().map(ParameterSpec::num_elements).sum();
        Self::with_bucket_bytes(parameters, world, BUCKET_BYTES.max(total.div_ceil(1024) * 4))
    }

    /// Divides parameters with buckets of about `bucket_bytes`.
    ///
    /// # Errors
    /// If there are more buckets than tags for them.
    pub fn with_bucket_bytes(
        parameters: &[ParameterSpec],
        world: usize,
        bucket_bytes: usize,
    ) -> Result<Self, Error> {
        let lens: Vec<usize> = parameters.iter().map(ParameterSpec::num_elements).collect();
        let owners = divide(&lens, world.max(1));
        let mut order: Vec<usize> = (0..lens.len()).collect();
        // Neighbours in the model get their gradients at about the same time, the last ones first.
        order.sort_by_cached_key(|index| std::cmp::Reverse(numbered(&parameters[*index].name)));
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut places = vec![(0, 0); lens.len()];
        let mut open: Vec<Option<usize>> = vec![None; world.max(1)];
        for index in order {
            let (owner, len) = (owners[index], lens[index]);
            let is_full = |bucket: &Bucket| (bucket.len + len) * 4 > bucket_bytes;
            let at = open[owner].filter(|at| !is_full(&buckets[*at])).unwrap_or(buckets.len());
            if at == buckets.len() {
                buckets.push(Bucket { owner, parameters: Vec::new(), len: 0 });
            }
            open[owner] = Some(at);
            places[index] = (at, buckets[at].len);
            buckets[at].parameters.push(index);
            buckets[at].len += len;
        }
        let most = usize::from(Tag::MAX.0 - Tag::GRADIENTS.0);
        if buckets.len() > most {
            let reason = format!("{} buckets of gradients, at most {most} can be", buckets.len());
            return Err(Error::Collective { reason });
        }
        let names = parameters.iter().map(|parameter| parameter.name.clone()).collect();
        Ok(Self { names, lens, owners, places, buckets })
    }

    /// Returns how many parameters there are.
    pub fn num_parameters(&self) -> usize {
        self.lens.len()
    }

    /// Returns what the parameters are called, in the order of names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the number of elements of a parameter.
    pub fn len(&self, parameter: usize) -> usize {
        self.lens[parameter]
    }

    /// Returns which parameter has a name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.binary_search_by(|found| found.as_str().cmp(name)).ok()
    }

    /// Returns who keeps a parameter.
    pub fn owner(&self, parameter: usize) -> usize {
        self.owners[parameter]
    }

    /// Returns the buckets; they are filled in about this order.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Returns the bucket of a parameter and where its elements start there.
    pub(crate) fn place(&self, parameter: usize) -> (usize, usize) {
        self.places[parameter]
    }
}

/// Gives every parameter, the largest first, to whoever has the least.
fn divide(lens: &[usize], world: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lens.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(lens[*index]), *index));
    let mut loads = vec![0_usize; world];
    let mut owners = vec![0; lens.len()];
    for index in order {
        let owner = (0..world).min_by_key(|rank| loads[*rank]).unwrap_or(0);
        owners[index] = owner;
        loads[owner] += lens[index];
    }
    owners
}

/// Returns a name as a key by which layer 10 comes after layer 9.
fn numbered(name: &str) -> Vec<(u64, String)> {
    let parts = name.split('.');
    parts
        .map(|part| part.parse().map_or((u64::MAX, part.to_owned()), |n| (n, String::new())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(lens: &[(&str, usize)]) -> Vec<ParameterSpec> {
        let spec = |(name, len): &(&str, usize)| ParameterSpec {
            name: (*name).to_owned(),
            shape: vec![*len],
        };
        lens.iter().map(spec).collect()
    }

    #[test]
    fn owners_have_about_the_same_and_everything_has_one() {
        let specs = specs(&[("a", 100), ("b", 7), ("c", 60), ("d", 40), ("e", 8), ("f", 0)]);
        let plan = Plan::new(&specs, 2).unwrap();
        let load = |rank| -> usize {
            (0..6).filter(|at| plan.owner(*at) == rank).map(|at| plan.len(at)).sum()
        };
        assert_eq!([load(0), load(1)], [108, 107]);
        let all: Vec<_> = plan.buckets().iter().flat_map(|bucket| &bucket.parameters).collect();
        assert_eq!(all.len(), 6);
        for bucket in plan.buckets() {
            assert!(bucket.parameters.iter().all(|at| plan.owner(*at) == bucket.owner));
        }
    }

    #[test]
    fn buckets_are_filled_from_the_end_of_the_model_and_are_not_large() {
        let specs = specs(&[("l.1.w", 10), ("l.10.w", 10), ("l.2.w", 10), ("l.9.w", 10)]);
        let plan = Plan::with_bucket_bytes(&specs, 1, 80).unwrap();
        let buckets: Vec<_> = plan.buckets().iter().map(|b| b.parameters.as_slice()).collect();
        assert_eq!(buckets, [[1, 3], [2, 0]]);
        assert_eq!(plan.place(0), (1, 10));
        assert_eq!(Plan::with_bucket_bytes(&specs, 1, 4).unwrap().buckets().len(), 4);
    }
}
