//! Frames: what travels between stages. Each holds one batch as an Arrow IPC stream, compressed or not.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::{reader::StreamDecoder, writer::StreamWriter};
use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_instrument::stage::StageClock;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    checksum::Checksum,
    error::{ErrorKind, PipelineError, Result},
    stages,
};

/// zstd's fastest ordinary level; frames are short-lived.
const ZSTD_LEVEL: i32 = 1;

/// Compression of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As Arrow writes it.
    None,
    /// LZ4 block format.
    Lz4,
    /// Zstandard, level 1.
    Zstd,
}

/// A batch on its way.
#[derive(Debug)]
pub struct Frame {
    /// The partition that it belongs to.
    pub partition: u32,
    /// Rows of the source that are done with once this frame is: more than it holds, where a filter dropped some.
    pub source_rows: u64,
    checksums: Option<Checksums>,
    compression: Compression,
    raw_bytes: usize,
    bytes: Vec<u8>,
}

/// What a frame must be when it arrives. The hash of its head is compared first: Arrow's reader trusts the lengths that
/// are there. What is behind it are the values, which the checksum of the rows is about, and padding.
#[derive(Clone, Copy, Debug)]
struct Checksums {
    rows: Checksum,
    head_bytes: usize,
    head: u64,
}

/// What travels through a channel.
#[derive(Debug)]
pub enum Message {
    /// A batch.
    Frame(Frame),
    /// The partition is complete: nothing follows.
    End {
        /// The partition.
        partition: u32,
    },
}

impl Frame {
    /// Bytes that travel.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Makes frames of one worker, with the memory of the last one in mind.
pub struct Encoder {
    compression: Compression,
    with_checksum: bool,
    last_raw_bytes: usize,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Encoder {
    /// An encoder with this compression.
    pub fn new(compression: Compression, with_checksum: bool) -> Self {
        Self { compression, with_checksum, last_raw_bytes: 0, zstd: None }
    }

    /// Puts `batch` into a frame.
    ///
    /// # Errors
    /// When the batch cannot be written as Arrow IPC, or zstd refuses.
    pub fn encode(
        &mut self,
        partition: u32,
        source_rows: u64,
        batch: &RecordBatch,
        clock: &mut StageClock,
    ) -> Result<Frame> {
        let rows = self.with_checksum.then(|| {
            clock.process(stages::CHECKSUM);
            Checksum::of(batch)
        });
        clock.process(stages::ENCODE);
        let failed = |error| PipelineError::arrow("encoding a frame", &error);
        let memory = Vec::with_capacity(self.last_raw_bytes + self.last_raw_bytes / 8 + 4_096);
        let mut writer = StreamWriter::try_new(memory, batch.schema_ref()).map_err(failed)?;
        writer.write(batch).map_err(failed)?;
        let raw = writer.into_inner().map_err(failed)?;
        let raw_bytes = raw.len();
        self.last_raw_bytes = raw_bytes;
        let checksums = rows.map(|rows| {
            clock.process(stages::CHECKSUM);
            let head_bytes = head_bytes(&raw);
            Checksums { rows, head_bytes, head: xxh3_64(&raw[..head_bytes]) }
        });
        let bytes = match self.compression {
            Compression::None => raw,
            Compression::Lz4 => {
                clock.process(stages::COMPRESS);
                lz4_flex::block::compress(&raw)
            }
            Compression::Zstd => {
                clock.process(stages::COMPRESS);
                let failed = |error: std::io::Error| {
                    PipelineError::new("compressing a frame", ErrorKind::Corrupt(error.to_string()))
                };
                let compressor = match &mut self.zstd {
                    Some(compressor) => compressor,
                    empty => empty.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(failed)?),
                };
                compressor.compress(&raw).map_err(failed)?
            }
        };
        Ok(Frame { partition, source_rows, checksums, compression: self.compression, raw_bytes, bytes })
    }
}

/// Bytes of a stream up to the values of its first batch: the schema and the description of the batch, each behind a
/// marker and its length (<https://arrow.apache.org/docs/format/Columnar.html>, "Encapsulated message format").
fn head_bytes(raw: &[u8]) -> usize {
    let mut end = 0;
    for _ in 0..2 {
        let length = raw.get(end + 4..end + 8).map_or([0; 4], |bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
        end += 8 + u32::from_le_bytes(length) as usize;
    }
    end.min(raw.len())
}

/// Opens frames of one worker.
pub struct Decoder {
    schema: SchemaRef,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decoder {
    /// A decoder for frames whose batches have this schema; they may have NULL in any column.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, zstd: None }
    }

    /// Whether a batch is of the schema: what a frame says about itself may be damaged, too.
    fn expects(&self, batch: &RecordBatch) -> bool {
        let (wanted, found) = (self.schema.fields(), batch.schema_ref().fields());
        wanted.len() == found.len()
            && wanted.iter().zip(found).all(|(wanted, found)| {
                wanted == found || **wanted == found.as_ref().clone().with_nullable(wanted.is_nullable())
            })
    }

    /// The batch of a frame. Its checksum is compared where it carries one.
    ///
    /// # Errors
    /// A frame that is damaged, or whose rows do not have its checksum.
    pub fn decode(&mut self, frame: Frame, clock: &mut StageClock) -> Result<RecordBatch> {
        let damaged = |message: String| PipelineError::new("opening a frame", ErrorKind::Corrupt(message));
        let raw = match frame.compression {
            Compression::None => frame.bytes,
            Compression::Lz4 => {
                clock.process(stages::DECOMPRESS);
                lz4_flex::block::decompress(&frame.bytes, frame.raw_bytes)
                    .map_err(|error| damaged(error.to_string()))?
            }
            Compression::Zstd => {
                clock.process(stages::DECOMPRESS);
                let failed = |error: std::io::Error| damaged(error.to_string());
                let decompressor = match &mut self.zstd {
                    Some(decompressor) => decompressor,
                    empty => empty.insert(zstd::bulk::Decompressor::new().map_err(failed)?),
                };
                decompressor.decompress(&frame.bytes, frame.raw_bytes).map_err(failed)?
            }
        };
        if raw.len() != frame.raw_bytes {
            return Err(damaged(format!("it has {} bytes, {} were sent", raw.len(), frame.raw_bytes)));
        }
        if let Some(sent) = frame.checksums {
            clock.process(stages::CHECKSUM);
            if xxh3_64(&raw[..sent.head_bytes]) != sent.head {
                return Err(damaged("its description of the batch is not the one that was sent".to_owned()));
            }
        }
        clock.process(stages::DECODE);
        let mut buffer = Buffer::from_vec(raw);
        let batch = StreamDecoder::new()
            .decode(&mut buffer)
            .map_err(|error| PipelineError::arrow("opening a frame", &error))?
            .ok_or_else(|| damaged("it holds no batch".to_owned()))?;
        if !self.expects(&batch) {
            return Err(damaged("its batch has other columns than were sent".to_owned()));
        }
        if let Some(Checksums { rows: sent, .. }) = frame.checksums {
            clock.process(stages::CHECKSUM);
            let arrived = Checksum::of(&batch);
            if arrived != sent {
                return Err(damaged(format!(
                    "{} rows with checksum {:016x} were sent, {} with {:016x} arrived",
                    sent.rows, sent.sum, arrived.rows, arrived.sum
                )));
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use uplift_instrument::stage::StageTable;

    use super::*;
    use crate::{generator::Generator, profile::Profile};

    /// A flipped bit anywhere in a frame is an error, or the rows are those that were sent: it lies in padding, or where
    /// there is NULL.
    #[test]
    fn damage_is_noticed() {
        let table = StageTable::new(&stages::NAMES);
        let mut clock = table.clock("test");
        let batch = Generator::new(Profile::Small, 9).batch(0, 1, 20, None).unwrap();
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let mut encoder = Encoder::new(compression, true);
            let mut decoder = Decoder::new(batch.schema());
            let whole = encoder.encode(0, 20, &batch, &mut clock).unwrap();
            let bytes = whole.bytes.len();
            let head_bytes = whole.checksums.unwrap().head_bytes;
            assert_eq!(decoder.decode(whole, &mut clock).unwrap(), batch);
            let mut harmless = 0;
            for at in 0..bytes {
                let mut frame = encoder.encode(0, 20, &batch, &mut clock).unwrap();
                frame.bytes[at] ^= 1 << (at % 8);
                match decoder.decode(frame, &mut clock) {
                    Err(error) => assert!(matches!(error.kind, ErrorKind::Corrupt(_)), "{error}"),
                    Ok(arrived) => {
                        assert_eq!(arrived, batch, "{compression:?}: the damage at byte {at} was not noticed");
                        assert!(at >= head_bytes || compression != Compression::None, "byte {at} of the head");
                        harmless += 1;
                    }
                }
            }
            assert!(harmless < bytes / 2, "{compression:?}: damage at {harmless} of {bytes} bytes changed nothing");
        }
    }

    /// A frame whose rows are whole but not those that were sent.
    #[test]
    fn other_rows_are_noticed() {
        let table = StageTable::new(&stages::NAMES);
        let mut clock = table.clock("test");
        let generator = Generator::new(Profile::Small, 9);
        let mut encoder = Encoder::new(Compression::None, true);
        let mut encode =
            |first| encoder.encode(0, 20, &generator.batch(first, 1, 20, None).unwrap(), &mut clock).unwrap();
        let (sent, mut other) = (encode(0), encode(20));
        other.checksums =
            sent.checksums.zip(other.checksums).map(|(sent, other)| Checksums { rows: sent.rows, ..other });
        let mut decoder = Decoder::new(Profile::Small.schema());
        let error = decoder.decode(other, &mut table.clock("test")).expect_err("the other rows were not noticed");
        assert!(matches!(&error.kind, ErrorKind::Corrupt(message) if message.contains("checksum")), "{error}");
    }
}
