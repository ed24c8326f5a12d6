import Foundation

/// The vector files beside the tests.
enum VectorFolder {
    static func files(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    }
}
