import GPUVMCore

extension VectorInterpreter {
    typealias Malformed = CommandArguments.Malformed

    func makeVM(_ arguments: inout CommandArguments) throws(Malformed) -> String {
        let start = try arguments.hex()
        let range = try arguments.hex()
        let reservedStart = try arguments.hex()
        let reservedRange = try arguments.hex()
        var flags: GPUVMFlags = []
        while !arguments.isEmpty {
            switch try arguments.word() {
            case "rp": flags.insert(.reservationProtected)
            case "im": flags.insert(.immediateMode)
            default: throw Malformed()
            }
        }
        vm?.close()
        vm = nil
        objects = [:]
        do {
            let vm = try GPUVM(
                name: "vectors", flags: flags, start: start, range: range,
                reservedStart: reservedStart, reservedRange: reservedRange)
            self.vm = vm
            return "{\"ok\":true,\"warns\":\(vm.warningCount)}"
        } catch {
            return Self.text(errno: error.errno)
        }
    }

    /// The object of a number; nil for 0. Undeclared ones are private.
    func object(
        _ arguments: inout CommandArguments, _ vm: GPUVM
    ) throws(Malformed) -> VectorObject? {
        let id = try arguments.decimal(maximum: Self.maximumObject)
        guard id != 0 else { return nil }
        if let object = objects[id] { return object }
        let object = VectorObject(id: id, reservation: vm.reservation)
        objects[id] = object
        return object
    }

    private func mapRequest(
        _ arguments: inout CommandArguments, _ vm: GPUVM, objectIsOptional: Bool
    ) throws(Malformed) -> MapRequest {
        var request = MapRequest(
            address: try arguments.hex(), range: try arguments.hex(), object: nil, offset: 0)
        if objectIsOptional && arguments.isEmpty { return request }
        request.object = try object(&arguments, vm)
        request.offset = try arguments.hex()
        return request
    }

    // MARK: - Plans

    func plan(
        _ name: String, _ vm: GPUVM, _ arguments: inout CommandArguments
    ) throws -> String {
        // The request keeps its object alive until the ops are applied.
        var request: MapRequest?
        switch name {
        case "map", "map_ops":
            let map = try mapRequest(&arguments, vm, objectIsOptional: false)
            try arguments.end()
            try vm.planMap(map, into: &ops)
            request = map
        case "madvise", "madvise_ops":
            let advice = try mapRequest(&arguments, vm, objectIsOptional: true)
            try arguments.end()
            try vm.planMadvise(advice, into: &ops)
            request = advice
        case "bo_unmap", "bo_unmap_ops":
            guard let object = try object(&arguments, vm) else { throw Malformed() }
            try arguments.end()
            try vm.planUnmapObject(object, into: &ops)
        default:
            let address = try arguments.hex()
            let range = try arguments.hex()
            if name == "unmap_ops" && !arguments.isEmpty {
                // Recordings carry an object and an offset here, which say nothing.
                _ = try arguments.decimal(maximum: Self.maximumObject)
                _ = try arguments.hex()
            }
            try arguments.end()
            if name == "prefetch" {
                vm.planPrefetch(address: address, range: range, into: &ops)
            } else {
                try vm.planUnmap(address: address, range: range, into: &ops)
            }
        }
        var texts: [String] = []
        ops.forEach { texts.append(Self.text($0, vm)) }
        var result = "{\"ops\":[" + texts.joined(separator: ",") + "]"
        if name != "prefetch" && !name.hasSuffix("_ops") {
            let refused = try withExtendedLifetime(request) { try vm.apply(&ops) }
            if refused > 0 { result += ",\"refused\":\(refused)" }
        }
        return result + "}"
    }

    // MARK: - Look-ups and bare changes

    func look(
        _ name: String, _ vm: GPUVM, _ arguments: inout CommandArguments
    ) throws -> String {
        switch name {
        case "insert":
            let request = try mapRequest(&arguments, vm, objectIsOptional: false)
            try arguments.end()
            try vm.insert(request)
            return "{\"ok\":true}"
        case "find_prev", "find_next":
            let address = try arguments.hex()
            try arguments.end()
            return Self.text(
                name == "find_prev"
                    ? vm.findPrevious(before: address) : vm.findNext(after: address), vm)
        case "find", "find_first", "empty", "valid", "remove":
            let address = try arguments.hex()
            let range = try arguments.hex()
            try arguments.end()
            return try look(name, vm, address, range)
        case "dump":
            try arguments.end()
            return "{\"maps\":\(dump().text)}"
        case "close":
            try arguments.end()
            let before = vm.warningCount
            vm.close()
            objects = [:]
            return "{\"freed\":\(vm.referenceCount == 0),\"warns\":\(vm.warningCount - before)}"
        default:
            throw Malformed()
        }
    }

    private func look(
        _ name: String, _ vm: GPUVM, _ address: UInt64, _ range: UInt64
    ) throws -> String {
        switch name {
        case "find": return Self.text(vm.find(address: address, range: range), vm)
        case "find_first": return Self.text(vm.findFirst(address: address, range: range), vm)
        case "empty": return "{\"empty\":\(vm.isEmpty(address: address, range: range))}"
        case "valid": return "{\"valid\":\(vm.isValid(address: address, range: range))}"
        default:
            let before = vm.warningCount
            try vm.remove(address: address, range: range)
            return "{\"ok\":true,\"warns\":\(vm.warningCount - before)}"
        }
    }
}
