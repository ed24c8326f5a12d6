import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import SystemPackage
import WireProtocol

/// Leads the clients of `demo --pressure` through their work and watches the daemon meanwhile.
///
/// Threading: one thread; the clients are processes or threads at the other ends of the channels.
struct PressureRun {
    private enum Phase {
        case settingUp
        case working
        case verifying
        case done
    }

    private enum ClientState {
        case busy
        /// It has done what the phase asks for.
        case waiting
        /// It has failed or ended.
        case gone
    }

    /// Between two looks at the daemon, ns.
    private static let interval: UInt64 = 100_000_000
    /// How much longer than the clients' work everything may take, ns.
    private static let patience: UInt64 = 60_000_000_000

    private let connection: Connection
    private let channels: [PressureChannel]
    private let onSample: (PressureSample) -> Void
    private var states: [ClientState]
    private var phase = Phase.settingUp
    private var start = Runtime.now()
    private var nextSample: UInt64 = 0
    private(set) var report: PressureReport

    /// - Parameters:
    ///   - channels: One for each client.
    ///   - onSample: Gets every look at the daemon, for a live display.
    init(
        _ connection: Connection, _ scenario: PressureScenario, channels: [PressureChannel],
        onSample: @escaping (PressureSample) -> Void
    ) throws(ClientError) {
        self.connection = connection
        self.channels = channels
        self.onSample = onSample
        states = channels.map { _ in .busy }
        report = PressureReport(scenario: scenario)
        report.server = connection.server.name
        report.before = try connection.memoryInfo()
    }

    /// Returns when every client has compared its bytes, or can no longer.
    mutating func run() {
        let deadline = Runtime.deadline(after: report.scenario.duration + Self.patience)
        do throws(ClientError) {
            while phase != .done {
                guard Runtime.now() < deadline else {
                    report.problems.append("the clients did not finish in time")
                    break
                }
                listen()
                try look(evenIfEarly: false)
                try advance()
            }
            report.elapsed = Runtime.now() - start
            // The clients still hold their buffers.
            try look(evenIfEarly: true)
            let mine = Set(report.clients.map(\.id)).subtracting([0])
            report.faults = try connection.faults().count { mine.contains($0.client_id) }
        } catch {
            report.problems.append("\(error)")
        }
    }

    // MARK: The clients

    /// Waits for messages until the next look is due.
    private mutating func listen() {
        let open = states.indices.filter { states[$0] != .gone }
        var descriptors = open.map {
            pollfd(fd: channels[$0].fd, events: Int16(POLLIN), revents: 0)
        }
        let now = Runtime.now()
        let milliseconds = nextSample > now ? Int32((nextSample - now) / 1_000_000 + 1) : 0
        guard poll(&descriptors, nfds_t(descriptors.count), milliseconds) > 0 else { return }
        for (index, descriptor) in zip(open, descriptors) where descriptor.revents != 0 {
            receive(from: index)
        }
    }

    private mutating func receive(from index: Int) {
        let message: PressureMessage?
        do throws(WireError) {
            message = try channels[index].receive()
        } catch {
            fail(index, "\(error)")
            return
        }
        switch message {
        case .connected(let client): report.clients[index].id = client
        case .ready(let vms, let buffers, let bytes):
            report.clients[index].vms = vms
            report.clients[index].buffers = buffers
            report.clients[index].bytes = bytes
            states[index] = .waiting
        case .progress(let rounds, let jobs):
            report.clients[index].rounds = rounds
            report.clients[index].jobs = jobs
        case .finished: states[index] = .waiting
        case .mismatch(let buffer, let difference):
            report.mismatches.append(
                .init(client: index, buffer: buffer, difference: difference))
        case .problem(let errno, let text):
            let code = Errno(rawValue: errno)
            if code == .noSpace || code == .noMemory { report.isMemoryRefused = true }
            fail(index, text)
        case .verified(let bytes):
            report.clients[index].verifiedBytes = bytes
            states[index] = .waiting
        case nil: fail(index, "it ended before it had compared its bytes")
        case .go, .verify: fail(index, "it sent what only the demo sends")
        }
    }

    private mutating func fail(_ index: Int, _ text: String) {
        states[index] = .gone
        report.problems.append("client \(index + 1): \(text)")
    }

    /// Goes on to the next phase when no client is busy.
    private mutating func advance() throws(ClientError) {
        guard !states.contains(.busy) else { return }
        switch phase {
        case .settingUp:
            // Without all of them there is not the pressure that is to be shown.
            guard states.allSatisfy({ $0 == .waiting }) else {
                phase = .done
                return
            }
            start = Runtime.now()
            begin(.working, .go)
        case .working: begin(.verifying, .verify)
        case .verifying, .done: phase = .done
        }
    }

    private mutating func begin(_ next: Phase, _ message: PressureMessage) {
        phase = next
        for index in states.indices where states[index] == .waiting {
            states[index] = .busy
            do throws(WireError) {
                try channels[index].send(message)
            } catch {
                fail(index, "\(error)")
            }
        }
        if !states.contains(.busy) { phase = .done }
    }

    // MARK: The daemon

    private mutating func look(evenIfEarly: Bool) throws(ClientError) {
        let now = Runtime.now()
        guard evenIfEarly || now >= nextSample else { return }
        nextSample = now + Self.interval
        var sample = PressureSample(
            elapsed: phase == .settingUp ? 0 : now - start, memory: try connection.memoryInfo(),
            owners: report.clients.map { _ in PressureResidency() }, others: PressureResidency(),
            rounds: report.clients.map(\.rounds), jobs: report.clients.map(\.jobs))
        for buffer in try connection.buffers() {
            if let owner = report.clients.firstIndex(where: { $0.id == buffer.client_id }),
                buffer.client_id != 0
            {
                sample.owners[owner].add(buffer)
            } else {
                sample.others.add(buffer)
            }
        }
        report.samples.append(sample)
        onSample(sample)
    }
}
