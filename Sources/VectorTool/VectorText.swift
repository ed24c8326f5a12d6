import GPUVMCore
import Glibc

// The results' compact JSON, written by hand: its bytes are compared and hashed.
extension VectorInterpreter {
    static func hex(_ value: UInt64) -> String { "\"" + String(value, radix: 16) + "\"" }

    static func text(errno: Int32) -> String {
        let name =
            switch errno {
            case EINVAL: "EINVAL"
            case EEXIST: "EEXIST"
            case ENOENT: "ENOENT"
            case ENOMEM: "ENOMEM"
            case EALREADY: "EALREADY"
            case EDEADLK: "EDEADLK"
            case EBUSY: "EBUSY"
            default: "E\(errno)"
            }
        return "{\"err\":\"\(name)\"}"
    }

    static func id(_ object: GPUVMObject?) -> Int {
        guard let object else { return 0 }
        return (object as? VectorObject)?.id ?? reservationObjectID
    }

    static func list(_ numbers: [Int]) -> String {
        "[" + numbers.map(String.init).joined(separator: ",") + "]"
    }

    private static func mapping(_ piece: GPUVAOp.Piece, _ bo: Int) -> String {
        "[\(hex(piece.address)),\(hex(piece.range)),\(bo),\(hex(piece.offset))]"
    }

    static func mapping(_ va: GPUVA, _ vm: GPUVM) -> String {
        mapping(
            GPUVAOp.Piece(address: va.address, range: va.range, offset: va.offset),
            vm.isReserved(va) ? -1 : id(va.object))
    }

    static func text(_ va: GPUVA?, _ vm: GPUVM) -> String {
        "{\"va\":" + (va.map { mapping($0, vm) } ?? "null") + "}"
    }

    static func text(_ op: GPUVAOp, _ vm: GPUVM) -> String {
        switch op {
        case .map(let map):
            return "[\"map\",\(mapping(map.piece, id(map.object)))]"
        case .unmap(let unmap):
            return "[\"unmap\",\(mapping(unmap.va, vm)),\(unmap.keep)]"
        case .remap(let remap):
            let bo = id(remap.va.object)
            let previous = remap.previous.map { mapping($0, bo) } ?? "null"
            let next = remap.next.map { mapping($0, bo) } ?? "null"
            return "[\"remap\",\(previous),\(next),\(mapping(remap.va, vm)),\(remap.keep)]"
        case .prefetch(let va):
            return "[\"prefetch\",\(mapping(va, vm))]"
        }
    }

    /// The array that `dump` prints, and its length.
    func dump() -> (text: String, count: Int) {
        guard let vm else { return ("[]", 0) }
        var maps: [String] = []
        vm.forEachVA { va in
            maps.append(Self.mapping(va, vm))
            return true
        }
        return ("[" + maps.joined(separator: ",") + "]", maps.count)
    }
}
