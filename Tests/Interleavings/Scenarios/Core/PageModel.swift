import GPUVMCore

/// What each page of a small VM shows: an object and a page of it.
struct PageModel: Equatable {
    struct Paint: Equatable {
        var object: Int
        var page: Int
    }

    static let pageCount = 24
    static let pageShift: UInt64 = 12

    private(set) var pages: [Paint?] = Array(repeating: nil, count: PageModel.pageCount)

    /// Whether the object is mapped.
    func maps(_ object: Int) -> Bool { pages.contains { $0?.object == object } }

    func mappedPages(of object: Int) -> Int { pages.count { $0?.object == object } }

    mutating func map(_ range: Range<Int>, _ object: Int, firstPage: Int) {
        for page in range {
            pages[page] = Paint(object: object, page: firstPage + page - range.lowerBound)
        }
    }

    mutating func unmap(_ range: Range<Int>) { for page in range { pages[page] = nil } }

    mutating func unmapAll(_ object: Int) {
        for page in pages.indices where pages[page]?.object == object { pages[page] = nil }
    }

    /// What the VM's tree shows; its mappings must not change meanwhile.
    static func read(_ vm: GPUVM, _ objects: [CoreObject], _ run: Run) -> PageModel {
        var model = PageModel()
        vm.forEachVA { va in
            guard let object = objects.firstIndex(where: { $0 === va.object }) else {
                run.fail("a mapping of an unknown object")
            }
            let first = Int(va.address >> pageShift)
            let range = first..<(first + Int(va.range >> pageShift))
            run.require(
                range.allSatisfy { model.pages[$0] == nil }, "two mappings of one page")
            model.map(range, object, firstPage: Int(va.offset >> pageShift))
            return true
        }
        return model
    }
}
