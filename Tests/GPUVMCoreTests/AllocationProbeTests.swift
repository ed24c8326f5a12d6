import AllocationProbe
import Fencing
import GPUVMCore
import Testing

/// What the calling thread allocates inside fence-signalling sections while `body` runs; nil where
/// nothing counts: under a sanitizer, or in a release build, whose sections leave no trace.
func allocationsWhileSignalling(_ body: () -> Void) -> UInt64? {
    gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_SIGNALLING)
    body()
    let count = gpuvm_allocation_probe_count()
    gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_NONE)
    #if DEBUG
        return gpuvm_allocation_probe_is_live() == 1 ? count : nil
    #else
        return nil
    #endif
}

/// The probe counts what it must, or its silence elsewhere would mean nothing.
@Suite struct AllocationProbeTests {
    private final class Something {
        var value = 1
    }

    @inline(never)
    private func allocate(_ count: Int) -> Int {
        var sum = 0
        for _ in 0..<count {
            let something = Something()
            withExtendedLifetime(something) { sum += something.value }
            UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64).deallocate()
        }
        return sum
    }

    @Test func countsSwiftAllocationsInsideASectionOnly() {
        let inside = allocationsWhileSignalling {
            SignallingSection.run { #expect(allocate(1) == 1) }
        }
        let precise = allocationsWhileSignalling {
            var sum = 0
            SignallingSection.run { sum = allocate(5) }
            if sum != 5 { Issue.record("nothing was allocated") }
        }
        let outside = allocationsWhileSignalling { _ = allocate(5) }
        guard let inside, let precise, let outside else { return }
        #expect(inside >= 2)
        #expect(precise == 10)
        #expect(outside == 0)
    }

    @Test func countsOnlyWhatIsArmed() {
        _ = allocate(3)
        #expect(gpuvm_allocation_probe_count() == 0)
        gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_ALL)
        _ = allocate(3)
        let count = gpuvm_allocation_probe_count()
        gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_NONE)
        if gpuvm_allocation_probe_is_live() == 1 { #expect(count == 6) }
    }
}
