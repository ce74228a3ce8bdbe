//! The binary heap of Go's library, move for move: which of equal items comes first depends on every move before.

/// Puts items into the order of a heap.
pub fn init<T>(items: &mut [T], precedes: &impl Fn(&T, &T) -> bool) {
    for root in (0..items.len() / 2).rev() {
        down(items, root, precedes);
    }
}

pub fn push<T>(items: &mut Vec<T>, item: T, precedes: &impl Fn(&T, &T) -> bool) {
    items.push(item);
    let mut at = items.len() - 1;
    while at > 0 {
        let parent = (at - 1) / 2;
        if !precedes(&items[at], &items[parent]) {
            break;
        }
        items.swap(at, parent);
        at = parent;
    }
}

pub fn pop<T>(items: &mut Vec<T>, precedes: &impl Fn(&T, &T) -> bool) -> Option<T> {
    let last = items.len().checked_sub(1)?;
    items.swap(0, last);
    down(&mut items[..last], 0, precedes);
    items.pop()
}

fn down<T>(items: &mut [T], mut root: usize, precedes: &impl Fn(&T, &T) -> bool) {
    loop {
        let left = 2 * root + 1;
        if left >= items.len() {
            break;
        }
        let right = left + 1;
        let child = if right < items.len() && precedes(&items[right], &items[left]) { right } else { left };
        if !precedes(&items[child], &items[root]) {
            break;
        }
        items.swap(root, child);
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_equal_items_the_one_that_waited_comes_first() {
        let precedes = |a: &(i64, char), b: &(i64, char)| a.0 < b.0;
        let mut items = vec![(1, 'a'), (1, 'b')];
        init(&mut items, &precedes);
        let mut order = String::new();
        for _ in 0..4 {
            let (time, name) = pop(&mut items, &precedes).unwrap();
            order.push(name);
            push(&mut items, (time, name), &precedes);
        }
        assert_eq!(order, "abab");
    }

    #[test]
    fn items_come_least_first() {
        let precedes = |a: &u32, b: &u32| a < b;
        let mut items = vec![5, 3, 8, 1, 9, 2];
        init(&mut items, &precedes);
        push(&mut items, 4, &precedes);
        let order: Vec<u32> = std::iter::from_fn(|| pop(&mut items, &precedes)).collect();
        assert_eq!(order, [1, 2, 3, 4, 5, 8, 9]);
    }
}
