/// A client's handles for one kind of object.
///
/// Handles start at 1 and are handed out in ascending order; one that was closed is used again only
/// after all 2^32 others, so that a use after close is an ENOENT and not somebody else's object.
///
/// Threading: none of its own; it lies behind the client's lock. All operations are O(1).
struct HandleTable<Object> {
    private var objects: [UInt32: Object] = [:]
    private var last: UInt32 = 0

    var count: Int { objects.count }
    var values: Dictionary<UInt32, Object>.Values { objects.values }
    var entries: [UInt32: Object] { objects }

    subscript(handle: UInt32) -> Object? { objects[handle] }

    mutating func insert(_ object: Object) -> UInt32 {
        repeat { last &+= 1 } while last == 0 || last == .max || objects[last] != nil
        objects[last] = object
        return last
    }

    mutating func remove(_ handle: UInt32) -> Object? { objects.removeValue(forKey: handle) }

    mutating func removeAll() -> [Object] {
        defer { objects.removeAll() }
        return Array(objects.values)
    }
}
