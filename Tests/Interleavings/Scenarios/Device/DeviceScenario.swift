import Device
import Fencing
import Glibc
import Memory
import TestSupport

/// A whole device with little VRAM: clients that create, share, bind, execute, evict each other's
/// buffers, fail and die.
enum DeviceScenario: Scenario {
    static let name = "device"

    static func run(_ run: Run) {
        DeviceWorld(run).execute()
    }
}

// @unchecked: threads of a run take turns.
/// The device of a run and what its clients share.
///
/// Checked: every byte that a job wrote, no fault but those provoked, no errno but those that
/// belong to what happened, no ENOSPC for a VM that fits into VRAM, and in the end every counter back
/// where it began.
final class DeviceWorld: @unchecked Sendable {
    /// How many times the buffers of all contexts together may exceed the VRAM.
    static let overCommit = 4
    /// The errno of failures injected on purpose; the device gives it on no other occasion.
    static let injectedErrno = EPROTO
    static let frameBytes: UInt64 = 4096

    let run: Run
    let device: Device
    let vramFrames: Int
    let visibleFrames: Int
    let clients: Int
    let contextsPerClient: Int
    let rounds: Int
    let injects: Bool
    /// System memory, page tables or the quota of mappings are short as well: any request may lack.
    let isStarved: Bool
    /// The device is shut down while its clients are at work.
    let isStopped: Bool
    /// Frames of VRAM that each context may ask for.
    let framesPerContext: Int
    private(set) var shared: [SharedMemory] = []
    /// Each context's view of the shared buffers, over the lives of its client.
    var sharedModels: [Int: [FileIdentity: BufferModel]] = [:]
    private let sharedPages: Int
    private var owner: Client?

    init(_ run: Run) {
        self.run = run
        var random = run.random(0)
        clients = 2 + random.below(3)
        contextsPerClient = 1 + random.below(2)
        rounds = 6 + random.below(20)
        injects = random.chance(4)
        vramFrames = 6 + random.below(14)
        var configuration = DeviceConfiguration()
        configuration.vramBytes = UInt64(vramFrames) * Self.frameBytes
        visibleFrames = random.chance(3) ? vramFrames / 2 : vramFrames
        if visibleFrames != vramFrames {
            configuration.visibleVRAMBytes = UInt64(visibleFrames) * Self.frameBytes
        }
        configuration.systemBytes = 4 << 20
        configuration.pageTableBytes = 4 << 20
        isStarved = random.chance(8)
        if isStarved {
            switch random.below(4) {
            case 0: configuration.systemBytes = UInt64(24 + random.below(16)) * Self.frameBytes
            case 1: configuration.pageTableBytes = UInt64(24 + random.below(24)) * Self.frameBytes
            case 2: configuration.quotas.tablePages = 8 + random.below(16)
            default: configuration.quotas.mappings = 8 + random.below(16)
            }
        }
        isStopped = random.chance(12)
        configuration.copyEngines = 1 + random.below(2)
        configuration.bindWorkers = 1 + random.below(2)
        configuration.tlbEntries = random.chance(3) ? 4 : 4096
        configuration.jobTimeout = 1 << 60
        framesPerContext = max(
            4, vramFrames * Self.overCommit / (clients * contextsPerClient))
        sharedPages = clients * contextsPerClient
        // A global that takes a lock while it is made, once: not while another thread waits for it.
        let timeline = Syncobj()
        timeline.signal(point: 1)
        _ = try? timeline.findFence(point: 1)
        do throws(DeviceError) {
            device = try Device(configuration)
        } catch {
            run.fail("no device: \(error)")
        }
        for _ in 0..<random.below(3) where sharedPages <= visibleFrames { makeShared() }
    }

    /// The pages of a shared buffer belong to one context each.
    private func makeShared() {
        let client =
            owner
            ?? device.makeClient(name: "owner", process: 1, user: 0, isPrivileged: true)
        owner = client
        do throws(DeviceError) {
            let made = try client.createBuffer(
                name: "shared", size: UInt64(sharedPages) * Self.frameBytes, placement: .vram)
            shared.append(made.buffer.backing)
        } catch {
            run.fail("no shared buffer: \(error)")
        }
    }

    func execute() {
        run.threads(clients + 1) { [self] index in
            if index == clients {
                lookAround(run.random(500))
            } else {
                ClientProgram(self, index, run.random(1 + UInt64(index))).execute()
            }
        }
        shared = []
        sharedModels = [:]
        owner?.close()
        owner = nil
        for client in device.clients { run.fail("client \(client.name) is left") }
        if !isStopped { device.shutdown(deadline: Runtime.deadline(after: 1_000_000_000)) }
        checkEmpty()
    }

    /// What an operator does at any time.
    private func lookAround(_ random: SplitMix64) {
        var random = random
        let end = isStopped ? random.below(rounds) : rounds
        for round in 0..<rounds {
            if round == end {
                device.shutdown(deadline: Runtime.deadline(after: UInt64(random.below(100_000))))
                run.count("shutdowns")
                return
            }
            switch random.below(3) {
            case 0:
                let status = device.status()
                run.require(
                    status.vramUsed <= device.configuration.vramBytes
                        && status.visibleVRAMUsed <= status.visibleVRAMBytes,
                    "more used than there is")
            case 1:
                _ = device.bufferReports()
            default:
                for client in device.clients {
                    for (_, vm) in client.allVMs {
                        _ = vm.report()
                        _ = vm.mappings(from: 0, limit: 100)
                    }
                }
            }
        }
    }

    private func checkEmpty() {
        let status = device.status()
        run.require(status.vramUsed == 0, "\(status.vramUsed) bytes of VRAM are left")
        run.require(status.systemUsed == 0, "\(status.systemUsed) bytes of memory are left")
        run.require(status.tablePagesUsed == 0, "\(status.tablePagesUsed) tables are left")
        run.require(
            status.tablePagesReserved == 0, "\(status.tablePagesReserved) tables stay promised")
        run.require(status.residentBuffers == 0, "a buffer stays resident")
        run.require(status.evictedBuffers == 0, "a buffer stays evicted")
        run.require(status.mappings == 0 && status.vms == 0, "mappings are left")
        run.require(device.bufferReports().isEmpty, "buffers are left")
        run.count("bind jobs", status.bindJobs)
        run.count("exec jobs", status.execJobs)
        run.count("faults", status.faults)
        run.count("evictions", status.evictions)
        run.count("restores", status.restores)
    }
}
