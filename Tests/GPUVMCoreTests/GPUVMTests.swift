import Fencing
import GPUVMCore
import TestSupport
import Testing

@Suite struct GPUVMTests {
    private func map(
        _ vm: GPUVM, _ page: UInt64, _ count: UInt64, _ object: GPUVMObject?,
        flags: GPUVAFlags = []
    ) throws {
        var ops = OpList()
        try vm.planMap(
            MapRequest(
                address: page << 12, range: count << 12, object: object, offset: 0, flags: flags),
            into: &ops)
        try vm.apply(&ops)
    }

    @Test func remapCarriesFlagsOnlyWhenTold() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        let readOnly = GPUVAFlags.user(0)
        var ops = OpList()
        for carried in [[], readOnly] as [GPUVAFlags] {
            try map(vm, 0, 4, nil, flags: [readOnly, .sparse])
            try vm.planUnmap(address: 1 << 12, range: 1 << 12, into: &ops)
            guard case .remap(let remap) = ops[0] else {
                Issue.record("no remap")
                return
            }
            #expect(remap.va.flags == [readOnly, .sparse])
            try vm.apply(&ops, carrying: carried)
            vm.forEachVA { va in
                #expect(va.flags == carried)
                return true
            }
        }
    }

    @Test func errorsSayWhatAndWhere() throws {
        let vm = try GPUVM(
            start: 0x1000, range: 0x10000, reservedStart: 0x8000, reservedRange: 0x1000,
            capacity: 64)
        var ops = OpList()
        func request(_ address: UInt64, _ range: UInt64) -> MapRequest {
            MapRequest(address: address, range: range, object: nil, offset: 0)
        }
        #expect(throws: GPUVMError.invalidRange(address: 0, range: 0x2000)) {
            try vm.planMap(request(0, 0x2000), into: &ops)
        }
        #expect(throws: GPUVMError.invalidRange(address: 0x7000, range: 0x1001)) {
            try vm.planUnmap(address: 0x7000, range: 0x1001, into: &ops)
        }
        #expect(throws: GPUVMError.invalidRange(address: .max, range: 1)) {
            try vm.planMadvise(request(.max, 1), into: &ops)
        }
        try vm.insert(request(0x2000, 0x1000))
        #expect(throws: GPUVMError.exists(address: 0x2fff, range: 1)) {
            try vm.insert(request(0x2fff, 1))
        }
        #expect(throws: GPUVMError.noEntry(address: 0x2000, range: 2)) {
            try vm.remove(address: 0x2000, range: 2)
        }
        #expect(throws: GPUVMError.noEntry(address: 0, range: 0)) {
            try vm.planUnmapObject(GPUVMObject(), into: &ops)
        }
        #expect(try vm.remove(address: 0x8000, range: 0x1000) == false)
        #expect(vm.warningCount == 1)
        vm.close()
        #expect(throws: GPUVMError.closed) { try vm.planMap(request(0x3000, 1), into: &ops) }
        #expect(throws: GPUVMError.closed) { try vm.insert(request(0x3000, 1)) }
        #expect(vm.find(address: 0x2000, range: 0x1000) == nil)
        #expect(GPUVMError.exists(address: 0x2fff, range: 1).description.contains("0x2fff"))
        #expect(GPUVMError.closed.errno == 2)
    }

    @Test func aFullVMRefusesAndStaysWhole() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 4, objectCapacity: 1)
        defer { vm.close() }
        let object = GPUVMObject()
        for page in [0, 2, 4, 6] as [UInt64] { try map(vm, page, 1, object) }
        let before = SpaceSnapshot(vm, [object])
        // The old mappings stay until the commit, so that a rollback finds them.
        #expect(throws: GPUVMError.outOfMemory(needed: 1)) { try map(vm, 0, 7, object) }
        #expect(SpaceSnapshot(vm, [object]) == before)
        var ops = OpList()
        try vm.planUnmap(address: 0, range: 1 << 12, into: &ops)
        try vm.apply(&ops)
        #expect(throws: GPUVMError.outOfMemory(needed: 1)) { try map(vm, 9, 1, GPUVMObject()) }
        try map(vm, 9, 1, object)
        #expect(vm.mappingCount == 4)
    }

    @Test func closeDropsEverythingInEveryMode() throws {
        for mode in TransactionTests.modes {
            weak var weakVM: GPUVM?
            let object = GPUVMObject()
            do {
                let vm = try GPUVM(flags: mode, start: 0, range: 1 << 30, capacity: 64)
                weakVM = vm
                try map(vm, 0, 3, object)
                try map(vm, 1, 1, nil)
                #expect(object.hardReferenceCount == 2)
                #expect(vm.referenceCount == 1 + 3 + 1)
                #expect(object.vms.first === vm)
                vm.close()
                vm.close()
                #expect(vm.referenceCount == 0)
            }
            #expect(object.hardReferenceCount == 1)
            #expect(object.vms.isEmpty)
            #expect(weakVM == nil, "mode \(mode.rawValue)")
        }
    }

    @Test func evictionReachesEveryVM() throws {
        let object = GPUVMObject()
        let vms = try (0..<3).map { _ in try GPUVM(start: 0, range: 1 << 30, capacity: 64) }
        defer { for vm in vms { vm.close() } }
        for vm in vms { try map(vm, 1, 1, object) }
        let context = object.reservation.lock()
        object.setEvicted(true)
        object.reservation.unlock(context)
        for vm in vms {
            #expect(vm.evictedObjects.count == 1)
            #expect(vm.vmBO(of: object)?.isEvicted == true)
        }
    }

    /// Record and tree, as PERFORMANCE asks: 56 bytes for each mapping.
    @Test func memoryForEachMapping() throws {
        let count: UInt64 = 40_000
        let sequential = try GPUVM(start: 0, range: 1 << 40)
        let scattered = try GPUVM(start: 0, range: 1 << 40)
        defer {
            sequential.close()
            scattered.close()
        }
        let object = GPUVMObject()
        var random = SplitMix64(seed: 5)
        for page in 0..<count { try map(sequential, page, 1, object) }
        for page in (0..<count).shuffled(using: &random) { try map(scattered, page, 1, object) }
        #expect(sequential.byteCount <= 54 * Int(count))
        #expect(scattered.byteCount <= 56 * Int(count))
    }
}
