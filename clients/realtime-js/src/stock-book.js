/** The products that the client watches, and the newest level of each. */

export class StockBook {
  /** Product id → `{ lastVersion, onLevel }`. */
  #watched = new Map();

  watch(productId, onLevel) {
    this.#watched.set(productId, { lastVersion: 0, onLevel });
  }

  unwatch(productId) {
    this.#watched.delete(productId);
  }

  watched() {
    return [...this.#watched.keys()];
  }

  lastVersion(productId) {
    return this.#watched.get(productId)?.lastVersion ?? 0;
  }

  /** Passes on a level that is newer than the last one. */
  apply({ product_id, available, version }) {
    const product = this.#watched.get(product_id);
    if (product !== undefined && version > product.lastVersion) {
      product.lastVersion = version;
      product.onLevel({ product_id, available, version });
    }
  }
}
