//! Every tensor of a checkpoint.

use std::collections::BTreeSet;

use checkpoint::Checkpoint;

use super::{AkiConfig, SiglipConfig};

impl AkiConfig {
    /// Returns the name and shape of every tensor of a checkpoint, the encoder's unused pooling
    /// head included.
    pub fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = prefixed("vision_encoder", self.vision.tensor_shapes());
        shapes.extend(prefixed("vision_tokenizer", self.connector.tensor_shapes(self)));
        shapes.extend(prefixed("lang_model", self.text_shapes()));
        shapes
    }

    /// Returns the names of a checkpoint's tensors that the configuration does not ask for.
    pub fn unused_tensors<'a>(&self, checkpoint: &'a Checkpoint) -> Vec<&'a str> {
        let known: BTreeSet<String> =
            self.tensor_shapes().into_iter().map(|(name, _)| name).collect();
        checkpoint.names().filter(|name| !known.contains(*name)).collect()
    }

    fn text_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (text, added) = (&self.text, self.num_added_tokens);
        let (hidden, rows) = (text.hidden_size, text.vocab_size);
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![rows, hidden])];
        if added > 0 {
            let name = "model.embed_tokens.additional_embedding.weight".to_owned();
            shapes.push((name, vec![added, hidden]));
        }
        let projections = text.family.projections(text);
        for layer in 0..text.num_hidden_layers {
            let mut of_layer = Vec::new();
            for linear in projections.iter() {
                let shape = vec![linear.out_width, linear.width];
                of_layer.push((format!("{}.weight", linear.name), shape));
                if linear.has_bias {
                    of_layer.push((format!("{}.bias", linear.name), vec![linear.out_width]));
                }
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                of_layer.push((format!("{norm}.weight"), vec![hidden]));
            }
            shapes.extend(prefixed(&format!("model.layers.{layer}"), of_layer));
        }
        shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !text.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![rows, hidden]));
        }
        shapes.push(("lm_head.bias".to_owned(), vec![rows]));
        if added > 0 {
            shapes.push(("lm_head.additional_fc.weight".to_owned(), vec![added, hidden]));
            shapes.push(("lm_head.additional_fc.bias".to_owned(), vec![added]));
        }
        shapes
    }
}

impl SiglipConfig {
    fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let patch = vec![width, self.num_channels, self.patch_size, self.patch_size];
        let mut shapes = vec![
            ("embeddings.patch_embedding.weight".to_owned(), patch),
            ("embeddings.patch_embedding.bias".to_owned(), vec![width]),
            ("embeddings.position_embedding.weight".to_owned(), vec![self.num_patches(), width]),
        ];
        for layer in 0..self.num_hidden_layers {
            for (name, out, input) in [
                ("self_attn.k_proj", width, width),
                ("self_attn.v_proj", width, width),
                ("self_attn.q_proj", width, width),
                ("self_attn.out_proj", width, width),
                ("mlp.fc1", inner, width),
                ("mlp.fc2", width, inner),
            ] {
                let name = format!("encoder.layers.{layer}.{name}");
                shapes.push((format!("{name}.weight"), vec![out, input]));
                shapes.push((format!("{name}.bias"), vec![out]));
            }
            for norm in ["layer_norm1", "layer_norm2"] {
                for part in ["weight", "bias"] {
                    shapes.push((format!("encoder.layers.{layer}.{norm}.{part}"), vec![width]));
                }
            }
        }
        let rest = [
            ("post_layernorm.weight", vec![width]),
            ("post_layernorm.bias", vec![width]),
            ("head.probe", vec![1, 1, width]),
            ("head.attention.in_proj_weight", vec![3 * width, width]),
            ("head.attention.in_proj_bias", vec![3 * width]),
            ("head.attention.out_proj.weight", vec![width, width]),
            ("head.attention.out_proj.bias", vec![width]),
            ("head.layernorm.weight", vec![width]),
            ("head.layernorm.bias", vec![width]),
            ("head.mlp.fc1.weight", vec![inner, width]),
            ("head.mlp.fc1.bias", vec![inner]),
            ("head.mlp.fc2.weight", vec![width, inner]),
            ("head.mlp.fc2.bias", vec![width]),
        ];
        shapes.extend(rest.map(|(name, shape)| (name.to_owned(), shape)));
        shapes
    }
}

fn prefixed(prefix: &str, shapes: Vec<(String, Vec<usize>)>) -> Vec<(String, Vec<usize>)> {
    shapes.into_iter().map(|(name, shape)| (format!("{prefix}.{name}"), shape)).collect()
}
