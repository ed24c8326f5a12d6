import AllocationProbe
import Device
import Fencing
import Glibc
import TestSupport
import Testing

@testable import GPUVMDaemon

/// Events are noted where fences signal, and nothing may be allocated there.
@Suite("Allocations of traces", .enabled(if: gpuvm_allocation_probe_is_live() != 0))
struct TraceAllocationTests {
    @Test("To note an event allocates nothing, whether it has room or not", .timeLimit(.minutes(1)))
    func note() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/fifo"
        try #require(mkfifo(path, 0o600) == 0)
        // Nobody reads: the queue fills up.
        let reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        let trace = try DRMTrace(path: path, device: "tu104", events: 1000)
        let call = IoctlCall(
            request: IoctlRequest(0xc028_6451), argument: IoctlBytes(zeros: 40),
            blocks: [
                IoctlBlock(
                    parent: 0, pointerOffset: 32, isOutput: false,
                    contents: IoctlBytes(zeros: 4000))
            ])
        let reply = IoctlBytes(zeros: 40)
        func round(_ time: UInt64) {
            trace.note(.ioctl(1, stream: 1, call, reply, time, time, result: 0))
            trace.note(.jobTimedOut(client: 1, vm: 1, queue: 1))
            trace.note(.close(1, time))
        }
        // Swift's runtime makes what it needs of a type at the type's first use.
        round(1)
        gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_ALL)
        for time in 2..<4000 { round(UInt64(time)) }
        let count = gpuvm_allocation_probe_count()
        gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_NONE)
        #expect(count == 0)
        signal(SIGPIPE, SIG_IGN)
        close(reader)
        let result = trace.finish()
        #expect(result.written + result.dropped == 3 * 3999)
    }
}
