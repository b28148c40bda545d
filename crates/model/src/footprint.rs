//! How much of a model there is.

/// The matrices of a part of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matrices {
    /// How many elements they have.
    pub elements: usize,
    /// The memory that they take, in a mapped file or not.
    pub bytes: usize,
}

/// The matrices of a model, by what a pass over them serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Of the vision encoder.
    pub vision: Matrices,
    /// Of the connector.
    pub connector: Matrices,
    /// The table of embeddings, of which a token reads one row.
    pub table: Matrices,
    /// Of the decoder's layers.
    pub layers: Matrices,
    /// Of the output.
    pub head: Matrices,
}

impl Footprint {
    /// Counts a matrix by the name of its tensor.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize], bytes: usize) {
        let part = if name.starts_with("vision_encoder.") {
            &mut self.vision
        } else if name.starts_with("vision_tokenizer.") {
            &mut self.connector
        } else if name.contains("embed_tokens.") {
            &mut self.table
        } else if name.starts_with("lang_model.lm_head.") {
            &mut self.head
        } else {
            &mut self.layers
        };
        part.elements += shape.iter().product::<usize>();
        part.bytes += bytes;
    }

    /// Returns the matrices of all parts.
    pub fn all(&self) -> Matrices {
        let parts = [self.vision, self.connector, self.table, self.layers, self.head];
        parts.into_iter().fold(Matrices::default(), |sum, part| Matrices {
            elements: sum.elements + part.elements,
            bytes: sum.bytes + part.bytes,
        })
    }
}
