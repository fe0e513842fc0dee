//! One QMAN: configuration by the host, scheduling of its streams, errors (`qman.md` 2, 5, 7).

use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman::{self as regs, LOWER, STREAMS, cause};
use coxswain_abi::soc::{Attributes, PostedWrite, WriteKind, initiator};

use super::arbiter::{self, Arbiter, Change};
use super::cp::{self, Buffer, Exit, Failure, LowerQueue, Shared};
use super::engine::Engine;
use super::fetch::FetchError;
use super::status::Published;
use super::stream::{Access, Activity, Blocked, Descriptor, Stream, Unit};
use super::timer::Timers;
use super::{QmanDescription, QueuePorts, SLICE};
use crate::ports::ReadError;

/// ARB_ERR_CAUSE: a choice was pushed although the queue is full.
const ARB_OVERFLOW: u32 = 1 << 0;
/// ARB_ERR_CAUSE: a choice has stood too long.
const ARB_WATCHDOG: u32 = 1 << 1;

/// One QMAN.
pub(super) struct Qman {
    pub(super) description: QmanDescription,
    pub(super) streams: [Stream; STREAMS],
    pub(super) shared: Shared,
    /// Bit per stream that can run.
    ready: u8,
    /// The arbiter could not decide for lack of room.
    undecided: bool,
    /// Bit per stream of which a unit failed.
    failed: u8,
    /// Bit per stream whose status may have changed since it was published.
    pub(super) touched: u8,
    /// Bit per stream that waits for its engine.
    engine_waiters: u8,
    /// Bit per stream whose request waits for earlier messages: it will go on without anybody's doing.
    settling: u8,
    /// Number after that of the stream that ran last, 0..=5.
    cursor: usize,
    /// Something that the owner of all QMANs must look at, see [`Self::wants_attention`].
    attention: bool,
    /// A new error waits to be reported.
    error: bool,
    /// A read of a command buffer ended in a page fault that waits to be reported.
    page_fault: bool,
    pub(super) published: Published,
}

impl Qman {
    pub fn new(description: QmanDescription) -> Self {
        Self {
            description,
            streams: [const { Stream::new() }; STREAMS],
            shared: Shared {
                engine: Engine::new(description.engine, description.engine_base, description.engine_depth),
                lower: LowerQueue::new(),
                arbiter: Arbiter::new(),
                timers: Timers::new(),
                base: description.base,
                engine_base: description.engine_base,
            },
            ready: 0,
            undecided: false,
            failed: 0,
            touched: 0,
            engine_waiters: 0,
            settling: 0,
            cursor: 0,
            attention: false,
            error: false,
            page_fault: false,
            published: Published::new(),
        }
    }

    /// Forgets all work and state.
    pub fn reset(&mut self) {
        self.streams = [const { Stream::new() }; STREAMS];
        self.shared.engine.reset();
        self.shared.lower.clear();
        self.shared.arbiter = Arbiter::new();
        self.shared.timers.clear();
        self.ready = 0;
        self.undecided = false;
        self.failed = 0;
        self.touched = 0;
        self.engine_waiters = 0;
        self.settling = 0;
        self.cursor = 0;
        self.attention = false;
        self.error = false;
        self.page_fault = false;
        self.published = Published::new();
    }

    pub fn is_ready(&self) -> bool {
        self.ready != 0 || self.undecided
    }

    /// True when an error, a page fault, a timer or a stuck stream may be news. Those are rare, and so is a look at them.
    #[inline]
    pub fn wants_attention(&self) -> bool {
        self.attention || !self.shared.timers.is_empty()
    }

    pub fn take_error(&mut self) -> bool {
        self.attention = false;
        core::mem::take(&mut self.error)
    }

    pub fn take_page_fault(&mut self) -> bool {
        core::mem::take(&mut self.page_fault)
    }

    pub fn is_stuck(&self) -> bool {
        self.shared.engine.is_stopped() || self.failed != 0
    }

    pub fn blocked(&self, stream: usize) -> Option<Blocked> {
        match self.streams.get(stream)?.activity {
            Activity::Blocked(reason) => Some(reason),
            Activity::Idle | Activity::Ready => None,
        }
    }

    /// Reads the producer index of an upper stream and goes on with it.
    pub fn on_doorbell<P: QueuePorts>(&mut self, number: usize, ports: &mut P) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        if !stream.enabled || number >= LOWER || stream.failed() {
            // A doorbell of a stopped stream stays in the register, a disabled stream reads it when it is enabled.
            return;
        }
        self.touched |= 1 << number;
        let index = ports.read(self.description.base + regs::PQ_PI_0 + 4 * number as u32);
        match stream.queue.set_producer(index) {
            // A stream with an empty queue stays idle: the driver looks at the idle bits right after it has enabled a queue.
            Ok(()) if stream.queue.pending() == 0 => {}
            Ok(()) => self.wake_if(number, |activity| activity == Activity::Idle),
            Err(_) => self.fail(number, Failure::outside(cause::PQF_RD), ports),
        }
    }

    /// Acts on a write to a register of this block.
    pub fn on_register_write<P: QueuePorts>(&mut self, inside: u32, value: u32, ports: &mut P) {
        match inside {
            regs::GLBL_CFG0 => self.enable(value, ports),
            regs::GLBL_CFG1 => self.stop(value),
            regs::CP_FENCE0_CNT_0..regs::CP_STS_0 => {
                let index = inside - regs::CP_FENCE0_CNT_0;
                let (fence, stream) = (index / regs::FENCE_STRIDE, index % regs::FENCE_STRIDE / 4);
                if let Some(state) = self.streams.get_mut(stream as usize) {
                    state.set_fence(fence as usize, value);
                    self.touched |= 1 << stream;
                }
                self.wake_fence(stream as usize, fence as u8);
            }
            _ if inside == regs::CQ_CTL_0 + regs::CQ_STRIDE * LOWER as u32 => self.start_lower(ports),
            _ => match self.shared.arbiter.on_register_write(inside, value) {
                Change::None => {}
                Change::Wake => {
                    self.wake_all(|reason| reason == Blocked::Arbiter);
                    self.arbitrate(ports);
                }
                Change::Overflow => self.arbiter_error(ARB_OVERFLOW, ports),
            },
        }
    }

    /// Adds to a fence counter.
    pub fn on_fence<P: QueuePorts>(&mut self, number: usize, fence: usize, increment: u8, ports: &mut P) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        let clipped = stream.increment_fence(fence, increment);
        self.touched |= 1 << number;
        if increment == 0 && stream.activity == Activity::Blocked(Blocked::Message) {
            stream.settled = true;
            return self.set_activity(number, Activity::Ready);
        }
        self.wake_fence(number, fence as u8);
        if clipped != 0 {
            self.fail(number, Failure::outside(clipped), ports);
        }
    }

    /// The engine finished a job.
    pub fn on_engine_done(&mut self) {
        self.shared.engine.done();
        let mut waiters = self.engine_waiters;
        while waiters != 0 {
            self.set_activity(waiters.trailing_zeros() as usize, Activity::Ready);
            waiters &= waiters - 1;
        }
    }

    /// The engine stopped with an error.
    pub fn on_engine_stopped(&mut self) {
        self.shared.engine.stop();
        self.attention = true;
    }

    /// A message of a stream got an error answer.
    pub fn on_write_failed<P: QueuePorts>(&mut self, number: usize, ports: &mut P) {
        self.fail(number, Failure::outside(cause::MSG_WR), ports);
    }

    /// Runs one ready stream for one slice, and what the arbiter has to do behind it.
    pub fn run_slice<P: QueuePorts>(&mut self, ports: &mut P) {
        if let Some(number) = self.next_ready() {
            self.cursor = number + 1;
            self.run_stream(number, ports);
        }
        if let Some(stream) = self.shared.arbiter.turn() {
            // It came with the release of the stream before.
            self.wake_if(stream, |activity| activity == Activity::Blocked(Blocked::Arbiter));
        }
        self.arbitrate(ports);
    }

    fn run_stream<P: QueuePorts>(&mut self, number: usize, ports: &mut P) {
        let mut left = SLICE;
        while left != 0 {
            let Some(stream) = self.streams.get_mut(number) else { return };
            if stream.stop_requested {
                return self.set_activity(number, Activity::Blocked(Blocked::Stopped));
            }
            if !stream.fetcher.active() {
                // A buffer counts as a packet: buffers may be empty.
                left -= 1;
                if !self.next_buffer(number, ports) {
                    return;
                }
                continue;
            }
            let exit = cp::run(number, stream, &mut self.shared, ports, &mut left);
            if core::mem::take(&mut stream.page_fault) {
                self.page_fault = true;
                self.attention = true;
            }
            if !self.shared.lower.is_empty() {
                self.wake_if(LOWER, |activity| activity == Activity::Idle);
            }
            match exit {
                Exit::End => {}
                Exit::Yield => return,
                Exit::Block(reason) => return self.set_activity(number, Activity::Blocked(reason)),
                Exit::Fail(failure) => return self.fail(number, failure, ports),
                Exit::Fetch(error) => return self.fetch_failed(number, error, ports),
            }
        }
    }

    /// Lets the arbiter decide when every stream has run up to where it blocks.
    #[inline]
    fn arbitrate<P: QueuePorts>(&mut self, ports: &mut P) {
        self.undecided = false;
        if self.shared.arbiter.has_new_head() {
            self.watch(ports);
        }
        if self.ready | self.settling == 0 && self.shared.arbiter.has_requests() {
            self.decide(ports);
        }
    }

    /// Starts the watchdog of the choice at the head.
    #[cold]
    fn watch<P: QueuePorts>(&mut self, ports: &mut P) {
        let limit = ports.read(self.description.base.wrapping_add(regs::ARB_SLV_CHOISE_WDT));
        self.shared.arbiter.watch(ports.now_us(), limit);
        self.attention = true;
    }

    /// Grants the next stream; when there is no room for what the arbiter has to tell, in a later round.
    #[cold]
    fn decide<P: QueuePorts>(&mut self, ports: &mut P) {
        self.undecided = ports.available() < arbiter::ROOM;
        if !self.undecided
            && let Some(stream) = self.shared.arbiter.decide(self.description.base, ports)
        {
            self.wake_if(stream, |activity| activity == Activity::Blocked(Blocked::Arbiter));
        }
    }

    /// Carries out what is due at `now`: fence increments, the arbiter's watchdog.
    pub fn on_time<P: QueuePorts>(&mut self, now: u64, ports: &mut P) {
        while let Some(timer) = self.shared.timers.take_due(now) {
            self.on_fence(timer.stream.into(), timer.fence.into(), timer.increment, ports);
            self.wake_all(|reason| reason == Blocked::Timers);
        }
        if self.shared.arbiter.is_overdue(now) {
            self.arbiter_error(ARB_WATCHDOG, ports);
        }
    }

    /// When something is due.
    pub fn next_time(&self) -> Option<u64> {
        match (self.shared.timers.next(), self.shared.arbiter.due()) {
            (Some(timer), Some(head)) => Some(timer.min(head)),
            (timer, head) => timer.or(head),
        }
    }

    /// Publishes what changed; false when there was no room for all of it.
    pub fn publish<P: QueuePorts>(&mut self, ports: &mut P) -> bool {
        super::status::publish(self, ports)
    }

    /// GLBL_CFG0: enables and disables streams.
    fn enable<P: QueuePorts>(&mut self, value: u32, ports: &mut P) {
        for number in 0..STREAMS {
            let fetches = value >> (4 + number) & 1 != 0;
            let executes = value >> (9 + number) & 1 != 0;
            let queues = number == LOWER || value >> number & 1 != 0;
            let enabled = fetches && executes && queues;
            let Some(stream) = self.streams.get_mut(number) else { return };
            if stream.enabled == enabled {
                continue;
            }
            *stream = Stream::new();
            self.failed &= !(1 << number);
            self.shared.arbiter.forget(number);
            self.shared.timers.forget(number);
            self.set_activity(number, Activity::Idle);
            if enabled {
                self.configure(number, ports);
            } else if number == LOWER {
                self.shared.lower.clear();
            }
        }
        if value == 0 {
            self.shared.engine.reset();
        }
        // The owner of the arbiter may be among those that are off now.
        self.arbitrate(ports);
    }

    /// Takes a stream's configuration registers over and goes on with what is in its queue.
    fn configure<P: QueuePorts>(&mut self, number: usize, ports: &mut P) {
        let base = self.description.base;
        let index = 4 * number as u32;
        let read64 = |low: u32, high: u32| u64::from(ports.read(base + low)) | u64::from(ports.read(base + high)) << 32;
        let mut message_base = [0; 4];
        for (step, slot) in (0u32..).zip(message_base.iter_mut()) {
            let offset = step * regs::CP_MSG_BASE_STRIDE + index;
            *slot = read64(regs::CP_MSG_BASE0_ADDR_LO_0 + offset, regs::CP_MSG_BASE0_ADDR_HI_0 + offset);
        }
        let descriptor = self.descriptor_target(index, ports);
        let ring = read64(regs::PQ_BASE_LO_0 + index, regs::PQ_BASE_HI_0 + index);
        let log2 = ports.read(base.wrapping_add(regs::PQ_SIZE_0 + index));
        let Some(stream) = self.streams.get_mut(number) else { return };
        stream.enabled = true;
        stream.message_base = message_base;
        stream.descriptor = descriptor;
        stream.stop_requested = ports.read(base.wrapping_add(regs::GLBL_CFG1)) >> (9 + number) & 1 != 0;
        if number < LOWER {
            stream.queue.configure(ring, log2);
            self.on_doorbell(number, ports);
        }
    }

    /// Where the LDMA offset registers point.
    fn descriptor_target<P: QueuePorts>(&self, index: u32, ports: &P) -> Descriptor {
        let base = self.description.base + index;
        let size = ports.read(base.wrapping_add(regs::CP_LDMA_TSIZE_OFFSET_0));
        let source = ports.read(base.wrapping_add(regs::CP_LDMA_SRC_BASE_LO_OFFSET_0));
        let destination = ports.read(base.wrapping_add(regs::CP_LDMA_DST_BASE_LO_OFFSET_0));
        let lower = regs::CQ_STRIDE * LOWER as u32;
        if size == 0x8000 + regs::CQ_TSIZE_0 + lower && source == 0x8000 + regs::CQ_PTR_LO_0 + lower {
            return Descriptor::Lower;
        }
        let inside = |offset: u32| offset & 3 == 0 && offset + 4 < 0x1000;
        if inside(size) && inside(source) && inside(destination) {
            let engine = self.description.engine_base;
            Descriptor::Engine { source: engine + source, destination: engine + destination, size: engine + size }
        } else {
            Descriptor::Nowhere
        }
    }

    /// GLBL_CFG1: stops command processors at their next packet boundary, or lets them go on.
    fn stop(&mut self, value: u32) {
        for number in 0..STREAMS {
            let stop = value >> (9 + number) & 1 != 0;
            let Some(stream) = self.streams.get_mut(number) else { return };
            stream.stop_requested = stop;
            self.touched |= 1 << number;
            match stream.activity {
                Activity::Blocked(Blocked::Stopped) if !stop => self.set_activity(number, Activity::Ready),
                Activity::Blocked(Blocked::Failed) | Activity::Idle | Activity::Ready => {}
                Activity::Blocked(_) if stop => {
                    self.shared.arbiter.withdraw(number);
                    self.set_activity(number, Activity::Blocked(Blocked::Stopped));
                }
                Activity::Blocked(_) => {}
            }
        }
    }

    /// A host write started the lower CP's CQ.
    fn start_lower<P: QueuePorts>(&mut self, ports: &mut P) {
        if !self.streams.get(LOWER).is_some_and(|stream| stream.enabled) {
            return;
        }
        let group = self.description.base + regs::CQ_STRIDE * LOWER as u32;
        let address =
            u64::from(ports.read(group + regs::CQ_PTR_LO_0)) | u64::from(ports.read(group + regs::CQ_PTR_HI_0)) << 32;
        let size = ports.read(group + regs::CQ_TSIZE_0);
        // The registers show what was written there, until another buffer starts.
        self.published.note_lower(address, size);
        if let Some(stream) = self.streams.get_mut(LOWER) {
            stream.fetcher.show(address, size);
        }
        if size != 0 && self.shared.lower.push_back(Buffer { address, size }).is_err() {
            return self.fail(LOWER, Failure::outside(cause::UNDEF_CMD), ports);
        }
        self.wake_if(LOWER, |activity| activity == Activity::Idle);
    }

    /// Starts the next buffer of a stream; false when there is none or it could not be read.
    fn next_buffer<P: QueuePorts>(&mut self, number: usize, ports: &mut P) -> bool {
        let waiting = match self.streams.get(number) {
            Some(stream) if stream.failed() => {
                self.set_activity(number, Activity::Blocked(Blocked::Failed));
                return false;
            }
            _ if number == LOWER => !self.shared.lower.is_empty(),
            Some(stream) => stream.queue.pending() != 0,
            None => false,
        };
        if !waiting {
            self.set_activity(number, Activity::Idle);
            return false;
        }
        // The registers as they are when the buffer starts.
        let base = self.description.base;
        let protection = ports.read(base.wrapping_add(regs::GLBL_PROT)) >> number;
        let own = initiator(usize::from(self.description.number), number);
        let index = 4 * number as u32;
        let secure =
            Attributes::from_props(true, ports.read(base.wrapping_add(regs::GLBL_SECURE_PROPS_0 + index)), own);
        let open =
            Attributes::from_props(false, ports.read(base.wrapping_add(regs::GLBL_NON_SECURE_PROPS_0 + index)), own);
        let choose = |bit: u32| if protection >> bit & 1 != 0 { secure } else { open };
        let access = Access { fetch: choose(4), message: open, protected: choose(9) };
        let buffer = if number == LOWER {
            let next = self.shared.lower.pop_front();
            self.wake_all(|reason| reason == Blocked::LowerQueue);
            next
        } else {
            self.next_descriptor(number, choose(0), ports)
        };
        let Some(buffer) = buffer else { return false };
        let Some(stream) = self.streams.get_mut(number) else { return false };
        self.touched |= 1 << number;
        stream.access = access;
        stream.fetcher.start(buffer.address, buffer.size);
        true
    }

    /// Reads the next PQ entry of an upper stream. The control word is bookkeeping of the host and ignored. `None`: there is
    /// none, or reading it failed.
    fn next_descriptor<P: QueuePorts>(&mut self, number: usize, access: Attributes, ports: &mut P) -> Option<Buffer> {
        let stream = self.streams.get_mut(number)?;
        let address = stream.queue.next_entry()?;
        let mut entry = [0; 2];
        if ports.read_words(address, access, &mut entry).is_err() {
            self.fail(number, Failure::outside(cause::PQF_RD), ports);
            // With stop-on-error off the entry is passed over.
            if let Some(stream) = self.streams.get_mut(number).filter(|stream| !stream.failed()) {
                stream.queue.advance();
            }
            return None;
        }
        stream.queue.advance();
        let [address, size] = entry;
        Some(Buffer { address, size: size as u32 })
    }

    fn fetch_failed<P: QueuePorts>(&mut self, number: usize, error: FetchError, ports: &mut P) {
        if matches!(error, FetchError::Read(ReadError::PageFault { .. })) {
            self.page_fault = true;
            self.attention = true;
        }
        let Some(stream) = self.streams.get_mut(number) else { return };
        let failure = match error {
            // What there is of the packet is in place.
            FetchError::Truncated => Failure {
                causes: cause::UNDEF_CMD,
                header: (stream.fetcher.words_on_chip() != 0).then(|| stream.fetcher.peek(0)),
                words: 0,
            },
            FetchError::Read(_) => Failure::outside(cause::CQF_RD),
        };
        // What is left of the buffer is abandoned; with stop-on-error off the next buffer follows.
        stream.abandon_buffer();
        self.fail(number, failure, ports);
    }

    /// Raises an error of a stream: cause register, current instruction, stop, event. The hardware would report with a write
    /// of GLBL_ERR_WDATA to the management CPU; the firmware that runs the QMAN queues the event itself (`qman.md` 7.3).
    fn fail<P: QueuePorts>(&mut self, number: usize, failure: Failure, ports: &mut P) {
        let base = self.description.base;
        let index = 4 * number as u32;
        let config = ports.read(base.wrapping_add(regs::GLBL_ERR_CFG));
        // A cause that the host has not cleared is no news.
        let known = ports.read(base.wrapping_add(regs::GLBL_STS1_0 + index));
        let Failure { causes, header, words } = failure;
        let unit = Unit::of(causes);
        let message = 1 << (unit.first_bit() + number);
        let Some(stream) = self.streams.get_mut(number) else { return };
        if let Some(header) = header {
            ports.post_status(base.wrapping_add(regs::CP_CURRENT_INST_LO_0 + index), header as u32);
            ports.post_status(base.wrapping_add(regs::CP_CURRENT_INST_HI_0 + index), (header >> 32) as u32);
        }
        stream.causes |= causes;
        self.touched |= 1 << number;
        ports.post(PostedWrite {
            address: CFG_BASE + u64::from(base.wrapping_add(regs::GLBL_STS1_0 + index)),
            data: causes,
            attributes: Attributes::CPU.with_kind(WriteKind::SetBits),
        });
        let enable = if number == LOWER { regs::GLBL_MSG_EN_4 } else { regs::GLBL_MSG_EN_0 + index };
        self.attention = true;
        self.error |= config & message != 0 && ports.read(base.wrapping_add(enable)) & causes & !known != 0;
        if config & message << 16 == 0 && causes & cause::STOP_OP == 0 {
            return cp::skip_failed(words, stream);
        }
        stream.failed_units |= unit.bit();
        self.failed |= 1 << number;
        // A queue that cannot go on stops nothing of the buffer in execution.
        if unit != Unit::Pqf || !stream.fetcher.active() {
            self.set_activity(number, Activity::Blocked(Blocked::Failed));
        }
    }

    /// Raises an error of the arbiter: cause register, event, stop (`qman.md` 6.4).
    fn arbiter_error<P: QueuePorts>(&mut self, causes: u32, ports: &mut P) {
        let base = self.description.base;
        // A cause that the host has not cleared is no news.
        let known = ports.read(base.wrapping_add(regs::ARB_ERR_CAUSE));
        ports.post(PostedWrite {
            address: CFG_BASE + u64::from(base.wrapping_add(regs::ARB_ERR_CAUSE)),
            data: causes,
            attributes: Attributes::CPU.with_kind(WriteKind::SetBits),
        });
        if ports.read(base.wrapping_add(regs::GLBL_ERR_CFG)) >> 31 != 0 {
            self.shared.arbiter.stop();
        }
        self.attention = true;
        self.error |= ports.read(base.wrapping_add(regs::ARB_ERR_MSG_EN)) & causes & !known != 0;
    }

    /// The stream whose turn it is.
    pub(super) fn next_ready(&self) -> Option<usize> {
        let ready = u32::from(self.ready);
        // Those behind the one that ran last come first.
        let behind = ready & 0xFF << (self.cursor & 7);
        let set = if behind != 0 { behind } else { ready };
        (set != 0).then(|| set.trailing_zeros() as usize)
    }

    #[inline]
    fn set_activity(&mut self, number: usize, activity: Activity) {
        if let Some(stream) = self.streams.get_mut(number) {
            stream.activity = activity;
            let bit = 1 << number;
            self.touched |= bit;
            self.ready &= !bit;
            self.engine_waiters &= !bit;
            self.settling &= !bit;
            match activity {
                Activity::Ready => self.ready |= bit,
                Activity::Blocked(Blocked::Engine | Blocked::Barrier) => self.engine_waiters |= bit,
                Activity::Blocked(Blocked::Message) => self.settling |= bit,
                Activity::Blocked(_) | Activity::Idle => {}
            }
        }
    }

    fn wake_if(&mut self, number: usize, condition: impl Fn(Activity) -> bool) {
        if self.streams.get(number).is_some_and(|stream| stream.enabled && condition(stream.activity)) {
            self.set_activity(number, Activity::Ready);
        }
    }

    fn wake_all(&mut self, condition: impl Fn(Blocked) -> bool) {
        for number in 0..STREAMS {
            self.wake_if(number, |activity| matches!(activity, Activity::Blocked(reason) if condition(reason)));
        }
    }

    fn wake_fence(&mut self, number: usize, fence: u8) {
        self.wake_if(
            number,
            |activity| matches!(activity, Activity::Blocked(Blocked::Fence { id, .. }) if id == fence),
        );
    }
}
