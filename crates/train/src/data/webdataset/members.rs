//! The samples of one shard: members of a tar file that share the name up to the first dot.

use std::io::{self, Read};

use crate::data::shards::ShardReader;

/// The unit in which a tar file is laid out.
const BLOCK: u64 = 512;

/// The files of one sample, as they are in the shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawSample {
    /// The name up to the first dot, folders included.
    pub key: String,
    /// The picture's file.
    pub image: Option<Vec<u8>>,
    /// The text.
    pub text: Option<Vec<u8>>,
}

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Text,
}

/// A member whose contents come next in the stream.
struct Member {
    key: String,
    kind: Kind,
    len: u64,
}

/// Reads the samples of a shard one after the other.
pub(super) struct Members {
    reader: ShardReader,
    /// A member of the next sample, which ended the one before.
    pending: Option<Member>,
    /// Bytes to be passed over before the next header.
    gap: u64,
    /// What went wrong after the last sample that is complete.
    error: Option<io::Error>,
    ended: bool,
}

/// Counts what is read, which tells a file that breaks off from a shard that ends.
struct Counting<'a> {
    reader: &'a mut ShardReader,
    num_read: &'a mut u64,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buffer)?;
        *self.num_read += len as u64;
        Ok(len)
    }
}

impl RawSample {
    /// Returns where the contents of such a member belong.
    fn place(&mut self, kind: Kind) -> &mut Option<Vec<u8>> {
        match kind {
            Kind::Image => &mut self.image,
            Kind::Text => &mut self.text,
        }
    }
}

impl Members {
    pub(super) fn new(reader: ShardReader) -> Self {
        Self { reader, pending: None, gap: 0, error: None, ended: false }
    }

    /// Returns the next sample; its contents are left out unless `wanted`.
    ///
    /// A sample that the shard breaks off in is lost, and the error follows the last whole one.
    pub(super) fn next(&mut self, wanted: bool) -> io::Result<Option<RawSample>> {
        if let Some(error) = self.error.take() {
            self.ended = true;
            return Err(error);
        }
        let mut sample = RawSample::default();
        match self.fill(&mut sample, wanted) {
            Ok(()) => {}
            Err(error) if sample.image.is_some() && sample.text.is_some() => {
                self.error = Some(error);
            }
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        }
        let is_sample = sample.image.is_some() || sample.text.is_some();
        Ok(is_sample.then_some(sample))
    }

    /// Reads members into `sample` up to the first one of another.
    fn fill(&mut self, sample: &mut RawSample, wanted: bool) -> io::Result<()> {
        while let Some(member) = self.next_member()? {
            let is_first = sample.image.is_none() && sample.text.is_none();
            if is_first {
                sample.key.clone_from(&member.key);
            } else if sample.key != member.key || sample.place(member.kind).is_some() {
                self.pending = Some(member);
                return Ok(());
            }
            let contents = self.contents(&member, wanted)?;
            *sample.place(member.kind) = Some(contents);
        }
        Ok(())
    }

    /// Finds the next member that belongs to a sample.
    fn next_member(&mut self) -> io::Result<Option<Member>> {
        if let Some(member) = self.pending.take() {
            return Ok(Some(member));
        }
        while !self.ended {
            self.reader.skip(std::mem::take(&mut self.gap))?;
            // One archive for each member, since an archive lends its reader to its entries; it
            // reads no further than the header.
            let mut num_read = 0;
            let reader = Counting { reader: &mut self.reader, num_read: &mut num_read };
            let mut archive = tar::Archive::new(reader);
            let Some(entry) = archive.entries()?.next() else {
                self.ended = true;
                if num_read == 0 {
                    let message = "the file ends without the mark of a shard's end";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                break;
            };
            let entry = entry?;
            let entry_type = entry.header().entry_type();
            if entry_type.is_gnu_sparse() {
                let message = "a member is a sparse file, expected plain ones";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let len = entry.size();
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if entry_type.is_file()
                && let Some((key, kind)) = split(&path)
            {
                return Ok(Some(Member { key: key.to_owned(), kind, len }));
            }
            self.gap = len.saturating_add(padding(len));
        }
        Ok(None)
    }

    /// Reads the contents of a member, or leaves them to be passed over.
    fn contents(&mut self, member: &Member, wanted: bool) -> io::Result<Vec<u8>> {
        if !wanted {
            self.gap = member.len.saturating_add(padding(member.len));
            return Ok(Vec::new());
        }
        let mut contents = Vec::new();
        // Grows as bytes come, since a broken header may state any length.
        (&mut self.reader).take(member.len).read_to_end(&mut contents)?;
        if contents.len() as u64 != member.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.gap = padding(member.len);
        Ok(contents)
    }
}

/// Returns how many bytes fill the last block.
fn padding(len: u64) -> u64 {
    (BLOCK - len % BLOCK) % BLOCK
}

/// Splits a member's name into the sample's key and what it is; none if it is of no use.
fn split(path: &str) -> Option<(&str, Kind)> {
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let (name, extension) = path[name_at..].split_once('.')?;
    let kind = match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" | "png" | "webp" => Kind::Image,
        "txt" => Kind::Text,
        _ => return None,
    };
    (!name.is_empty()).then(|| (&path[..name_at + name.len()], kind))
}
