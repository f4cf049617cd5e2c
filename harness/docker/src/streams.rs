//! The attached streams of a container as a blocking reader and writer.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    pin::Pin,
    sync::Arc,
};

use bollard::container::{AttachContainerResults, LogOutput};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc::{Receiver, channel},
};

use crate::engine::Engine;

/// How much of stderr is kept.
const STDERR_TAIL_BYTES: usize = 8 << 10;
/// Pieces of output that may wait for their reader.
const PIECES_MAX: usize = 64;

/// The three streams of one container.
pub(crate) struct Streams {
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) errors: Arc<Mutex<VecDeque<u8>>>,
}

/// Takes the streams apart.
pub(crate) fn split(engine: &Arc<Engine>, attached: AttachContainerResults) -> Streams {
    let (sender, receiver) = channel(PIECES_MAX);
    let errors = Arc::new(Mutex::new(VecDeque::new()));
    let tail = Arc::clone(&errors);
    let mut pieces = attached.output;
    engine.spawn(async move {
        while let Some(Ok(piece)) = pieces.next().await {
            match piece {
                LogOutput::StdErr { message } => keep(&tail, &message),
                LogOutput::StdOut { message } => {
                    // Nobody reads any more: the trial is over, and what the container still says is of no use.
                    if sender.send(message.to_vec()).await.is_err() {
                        return;
                    }
                }
                LogOutput::StdIn { .. } | LogOutput::Console { .. } => {}
            }
        }
    });
    Streams {
        input: Input { engine: Arc::clone(engine), stream: attached.input },
        output: Output { pieces: receiver, rest: Vec::new(), position: 0 },
        errors,
    }
}

fn keep(tail: &Mutex<VecDeque<u8>>, message: &[u8]) {
    let mut tail = tail.lock();
    tail.extend(message);
    let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
    tail.drain(..excess);
}

/// The container's standard input. Dropping it closes the container's end.
pub(crate) struct Input {
    engine: Arc<Engine>,
    stream: Pin<Box<dyn AsyncWrite + Send>>,
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.engine.block_on(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.engine.block_on(self.stream.flush())
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let _ = self.engine.block_on(self.stream.shutdown());
    }
}

/// The container's standard output.
pub(crate) struct Output {
    pieces: Receiver<Vec<u8>>,
    rest: Vec<u8>,
    position: usize,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.rest.len() {
            match self.pieces.blocking_recv() {
                Some(piece) => (self.rest, self.position) = (piece, 0),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len() - self.position);
        buffer[..count].copy_from_slice(&self.rest[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}
