import Fencing
import GPUVMCore
import Testing

/// 8 threads, 64 VMs, 256 shared objects: no deadlock, and nobody starves.
///
/// That nobody starves is shown by two facts. The oldest context of all is never told to back off,
/// and who is the oldest remains it until it is done. And every thread completes its quota.
@Suite(.serialized, .timeLimit(.minutes(4))) struct ExecStressTests {
    private func stress(
        _ seed: UInt64, quota: Int, cancelOneIn: UInt64, flags: GPUVMFlags
    ) throws {
        let stress = try ExecStress(
            seed: seed, quota: quota, cancelOneIn: cancelOneIn, flags: flags)
        let (report, stuck) = stress.run(seconds: 60, seed: seed)
        let seed: Comment = "seed \(seed), flags \(flags.rawValue): \(report)"
        if let stuck { Issue.record("\(seed)\nstopped\n\(stuck)") }
        #expect(report.attempts == ExecStress.threadCount * quota, seed)
        #expect(report.oldestBackedOff == 0, seed)
        #expect(report.intrusions == 0, seed)
        #expect(report.unexpected.isEmpty, seed)
        #expect(report.backOffs > 0 && report.victims > 0, seed)
        #expect(cancelOneIn == 0 || report.interrupted > 0, seed)
        #expect(stress.guards.values.reduce(0) { $0 + $1.visits } == report.locked, seed)
        let all = stress.shared.map(\.reservation) + stress.spaces.map(\.vm.reservation)
        for reservation in all {
            #expect(reservation.contention == (nil, []) as (UInt64?, [UInt64]), seed)
        }
        for space in stress.spaces { space.vm.close() }
        // The creator's reference is the only one left.
        #expect(stress.shared.allSatisfy { $0.hardReferenceCount == 1 }, seed)
        #expect(stress.spaces.allSatisfy { $0.locals.allSatisfy { $0.hardReferenceCount == 1 } })
    }

    @Test(arguments: [GPUVMFlags.reservationProtected, [], .weakReferences])
    func everybodyGetsThrough(flags: GPUVMFlags) throws {
        try stress(1, quota: 400, cancelOneIn: 0, flags: flags)
    }

    @Test(arguments: [GPUVMFlags.reservationProtected, []]) func withCancellations(
        flags: GPUVMFlags
    ) throws {
        try stress(2, quota: 400, cancelOneIn: 3, flags: flags)
    }
}
